"""Turns values of Centrifugo's options into those of the edge's keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from services.chassis.process.settings import Duration, Rate
from services.edge.moving.durations import NotConvertible, duration
from services.edge.moving.proxy_values import OF_PROXIES
from services.edge.origins import check_pattern
from services.edge.patterns import check_effort

_LEVELS: Final = {"trace": "debug", "warn": "warning", "fatal": "error", "none": "error"}
_OF_GLOBS: Final = re.compile(r"[?{}\\]|\[(?![0-9a-f.*]*:[0-9a-f:.*]*\])", re.IGNORECASE)
"""What is special in Centrifugo's origins besides `*`, but not the brackets of an IPv6 address."""
_MOST_ORIGINS: Final = 100
"""The most patterns that one pattern becomes."""
_NOT_PYTHONS: Final = re.compile(r"\[\[:|\\z|\\[pP]|\\Q|\\C")
"""Syntax of Go's regular expressions that Python's do not have, or read differently."""


def convert(option: str, value: Any, kind: Any) -> tuple[Any, str]:
    """The value for the key of the type `kind` that `option` becomes, and a remark on it ("" for none).

    Raises `NotConvertible`.
    """
    if option in _OF_OPTIONS:
        return _OF_OPTIONS[option](value)
    if kind is Duration:
        return duration(value), ""
    if kind == list[str] and isinstance(value, str):  # Centrifugo splits it
        value = value.split()
    try:
        made = msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise NotConvertible(f"this edge does not take the value: {error}") from None
    return value if isinstance(value, list | dict) else msgspec.to_builtins(made), ""


def _ping_interval(value: Any) -> tuple[Any, str]:
    if str(value).startswith("-"):
        return 0, "0 switches pings off"
    return duration(value), ""


def _level(value: Any) -> tuple[Any, str]:
    level = _LEVELS.get(str(value), str(value))
    return level, f'as "{level}"' if level != value else ""


def _address(value: Any) -> tuple[Any, str]:
    return str(value) or "0.0.0.0", "" if value else "all addresses, as in Centrifugo: 0.0.0.0"


def _per_second(value: Any) -> tuple[Any, str]:
    rate = f"{value}/1s" if value else "0"
    try:
        Rate.parse(rate)
    except ValueError as error:
        raise NotConvertible(str(error)) from None
    return rate, ""


def _concurrency(value: Any) -> tuple[Any, str]:
    says = "for RPCs only: other commands run one by one"
    return (max(value, 1) if isinstance(value, int) else value), says


def _origins(value: Any) -> tuple[Any, str]:
    """The patterns, with each of `{a,b}` written out. Those with other special characters are left out and reported."""
    given = value.split() if isinstance(value, str) else value
    patterns = [each for pattern in given for each in _written_out(str(pattern))]
    lost = [pattern for pattern in patterns if _OF_GLOBS.search(pattern)]
    if lost:
        taken, _ = _known_origins([pattern for pattern in patterns if pattern not in lost])
        raise NotConvertible(
            f"only * is special here, so these would let nobody in; write out each origin: {', '.join(lost)}",
            taken or None,
        )
    taken, says = _known_origins(patterns)
    if patterns and not taken:
        raise NotConvertible(says)
    return taken, "; ".join(filter(None, ("with each of {a,b} written out" if patterns != given else "", says)))


def _written_out(pattern: str) -> list[str]:
    """The patterns that one with `{a,b}` stands for; the pattern itself if it has none, or stands for too many."""
    made = [""]
    for number, part in enumerate(re.split(r"\{([^{}\[\]\\]*)\}", pattern)):
        made = [head + each for head in made for each in (part.split(",") if number % 2 else [part])]
        if len(made) > _MOST_ORIGINS:
            return [pattern]
    return [pattern] if any("{" in each for each in made) else made


def _known_origins(patterns: list[str]) -> tuple[list[str], str]:
    """The patterns of origins that browsers send, and a remark on the others, which let nobody in with Centrifugo
    either."""
    mistakes: dict[str, str] = {}
    for pattern in patterns:
        try:
            check_pattern(pattern)
        except ValueError as error:
            mistakes[pattern] = str(error)
    taken = [pattern for pattern in patterns if pattern not in mistakes]
    return taken, f"without {len(mistakes)} of {len(patterns)}: {'; '.join(mistakes.values())}" if mistakes else ""


def _meta_ttl(value: Any) -> tuple[Any, str]:
    """0 stands for the value that holds for all channels."""
    made = duration(value)
    return made if Duration.parse(made) else "", ""


def _regex(value: Any) -> tuple[Any, str]:
    """An expression that matches the whole text if Go finds the given one somewhere in it."""
    pattern = str(value)
    if not pattern:
        return "", ""
    whole = pattern.startswith("^") and pattern.endswith("$") and not pattern.endswith(r"\$") and "|" not in pattern
    mine = pattern if whole else f"(?s:.*)(?:{pattern})(?s:.*)"
    if re.search(r"\\[dDwWsSbB]", pattern):
        mine = f"(?a){mine}"
    try:
        if _NOT_PYTHONS.search(pattern):
            raise re.error("Go's own classes")
        re.compile(mine)
    except re.error as error:
        raise NotConvertible(f"write it as a Python regular expression for the whole text: {error}") from None
    return mine, "" if mine == pattern else "as an expression for the whole text"


def _claim_regex(value: Any) -> tuple[Any, str]:
    """An expression that the whole claim must match. Go finds an expression anywhere in a claim, which lets in
    strangers (decision 38): this one is not widened in that way.
    """
    mine, says = _regex(value)
    if "(?s:.*)" in mine:
        mine = mine.replace("(?s:.*)", "")
        says = (
            "the whole claim must match it, while Centrifugo finds it anywhere in a claim: put .* where there may be "
            "more"
        )
    try:
        check_effort(mine)
    except ValueError as error:
        raise NotConvertible(str(error)) from None
    return mine, says


def _user_header(value: Any) -> tuple[Any, str]:
    return value, "name the addresses of that proxy in edge.trusted_proxies" if value else ""


_OF_OPTIONS: Final[Mapping[str, Callable[[Any], tuple[Any, str]]]] = {
    "log.level": _level,
    "http_server.address": _address,
    "client.allowed_origins": _origins,
    "client.ping_interval": _ping_interval,
    "client.concurrency": _concurrency,
    "client.connection_rate_limit": _per_second,
    "namespace.history_meta_ttl": _meta_ttl,
    "namespace.channel_regex": _regex,
    "client.token.audience_regex": _claim_regex,
    "client.token.issuer_regex": _claim_regex,
    "client.subscription_token.audience_regex": _claim_regex,
    "client.subscription_token.issuer_regex": _claim_regex,
    "client.user_id_http_header": _user_header,
    **OF_PROXIES,
}
