"""Which pages of browsers may connect: patterns of origins, in which only `*` is special. Pure.

A browser writes an origin in one form: "scheme://host", and ":port" unless it is the scheme's own; in lower case, in
ASCII, without a path. A pattern that no such text matches lets nobody in, so it is refused, with a suggestion.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

ANY: Final = "*"
_WITHOUT_HOST: Final = ("null", "file://")
"""What pages in a sandboxed frame send, and what some applications that show files send."""

_OWN_PORTS: Final = {"http": "80", "https": "443"}
_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz")
_DIGITS: Final = frozenset("0123456789")
_OF_SCHEME: Final = _LETTERS | _DIGITS | frozenset("+-.")
_OF_HOST: Final = _LETTERS | _DIGITS | frozenset("-._")
_OF_IPV6: Final = frozenset("0123456789abcdef:.")

# An automaton that accepts origins. By state: the characters that it takes, and where each leads.
_STEPS: Final[dict[str, list[tuple[frozenset[str], str]]]] = {
    "start": [(_LETTERS, "scheme")],
    "scheme": [(_OF_SCHEME, "scheme"), (frozenset(":"), "colon")],
    "colon": [(frozenset("/"), "slash")],
    "slash": [(frozenset("/"), "slashes")],
    "slashes": [(_OF_HOST, "host"), (frozenset("["), "ipv6")],
    "host": [(_OF_HOST, "host"), (frozenset(":"), "before port")],
    "ipv6": [(_OF_IPV6, "ipv6"), (frozenset("]"), "after ipv6")],
    "after ipv6": [(frozenset(":"), "before port")],
    "before port": [(_DIGITS, "port")],
    "port": [(_DIGITS, "port")],
}
_ENDS: Final = frozenset(("host", "after ipv6", "port"))


class Origins:
    """The pages that may connect, as patterns such as "https://*.example.com". Only browsers send an origin."""

    def __init__(self, patterns: list[str]) -> None:
        self._patterns = [pattern.lower().split(ANY) for pattern in patterns]

    def allow(self, origin: str | None) -> bool:
        """Whether a handshake with this `Origin` header (None when it has none) is accepted."""
        if origin is None:
            return True
        text = origin.lower()
        return any(_matches(parts, text) for parts in self._patterns)


def _matches(parts: list[str], text: str) -> bool:
    """Whether `text` is these parts, with anything between them. Each part is looked for once, from left to right."""
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return text == first
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in parts[1:-1]:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def check_pattern(pattern: str) -> None:
    """Raises ValueError, with what to write, for a pattern that the origin of no page can match."""
    if not _can_match(pattern):
        meant = _meant(pattern)
        advice = f'"{meant}"' if meant else 'an origin such as "https://example.com" or "http://localhost:3000"'
        raise ValueError(f'no browser sends an origin that matches "{pattern}"; expected {advice}')


def too_open(pattern: str) -> str:
    """Why a pattern lets in pages of strangers, with what to write; "" if it does not, and for "*"."""
    text = pattern.lower()
    if text == "null":
        return "pages of any site send it, from a sandboxed frame"
    if not text.strip(ANY):
        return ""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return f'it names no scheme; write one, as in "https://{text}"'
    head, tail = rest.rstrip(ANY), rest.lstrip(ANY)
    if head not in ("", rest) and ":" not in head:
        stranger = f"{_instance(scheme)}://{_instance(head).rstrip('.')}.of.strangers.example"
        return f'it matches "{stranger}" too; end it with the host, or with the host and ":*" for any port'
    if tail != rest and tail[:1] not in ("", ".", ":", "-") and tail.count(".") == 1:
        return f'it matches "{_instance(scheme)}://strangers{_instance(tail)}" too; write "{scheme}://*.{tail}"'
    return ""


def _instance(part: str) -> str:
    """A text that a part of a pattern matches."""
    return part.replace(ANY, "x")


def _can_match(pattern: str) -> bool:
    text = pattern.lower()
    if any(_matches(text.split(ANY), origin) for origin in _WITHOUT_HOST):
        return True
    scheme, separator, rest = text.partition("://")
    own = _OWN_PORTS.get(scheme)
    if separator and own and rest.endswith(f":{own}"):
        return False
    states = {"start"}
    for letter in text:
        if letter == ANY:
            while further := {to for state in states for _, to in _STEPS[state]} - states:
                states |= further
        else:
            states = {to for state in states for letters, to in _STEPS[state] if letter in letters}
    return bool(states & _ENDS)


def _meant(pattern: str) -> str:
    """The pattern that was probably meant, "" when that is not clear."""
    scheme, separator, rest = pattern.strip().lower().partition("://")
    if not separator:
        scheme, rest = "https", scheme.lstrip("/")
    rest = rest.partition("/")[0]
    rest = rest.rpartition("@")[2].removesuffix(f":{_OWN_PORTS.get(scheme, '')}")
    if not rest.isascii():
        with suppress(UnicodeError):
            host, colon, port = rest.partition(":")
            rest = ".".join(part if part == ANY else part.encode("idna").decode() for part in host.split("."))
            rest += colon + port
    meant = f"{scheme}://{rest}"
    return meant if rest and _can_match(meant) else ""
