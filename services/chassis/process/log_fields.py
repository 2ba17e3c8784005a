"""The fields of log records: whom and what a record is about, so that one user's lines can be found. Pure.

A message says in words what happened and why. Who, where and which code are fields beside it, and not repeated in it:
`log.info("a command was refused: %s", why, extra=about(user=user, channel=channel, code=103))`.

Clients choose many of the values. In the text form a value is one word, or in quotes; no value and no message can end
its line, or look like another field.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Final

MAX_LENGTH: Final = 320
"""How many characters of a value are shown: enough for the longest channel that can be configured."""


def about(
    *,
    client: str = "",
    user: str = "",
    channel: str = "",
    code: int = 0,
    address: str = "",
    edge: str = "",
    instance: str = "",
    method: str = "",
    key: str = "",
    backend: str = "",
    transport: str = "",
    encoding: str = "",
    library: str = "",
    seconds: float = 0.0,
) -> dict[str, object]:
    """The fields of a record, for `extra`, without those that are empty.

    `client` is a client id, `code` one of `proto.codes` or an HTTP status. `edge` and `instance` name a process other
    than the one that writes the log. `method` and `key` belong to a call of the server API: the key's name, not the
    key. `backend` is the name of a backend's table, or "nats". `library` is the client's software and its version,
    `seconds` a duration.
    """
    given = {
        "client": client,
        "user": user,
        "channel": channel,
        "code": code,
        "address": address,
        "edge": edge,
        "instance": instance,
        "method": method,
        "key": key,
        "backend": backend,
        "transport": transport,
        "encoding": encoding,
        "library": library,
        "seconds": round(seconds, 3),
    }
    return {name: value for name, value in given.items() if value}


NAMES: Final = (*inspect.signature(about).parameters,)
"""The fields that records may have."""

_LIKE_A_FIELD: Final = re.compile(rf"\b({'|'.join(NAMES)})=")
_ONE_WORD: Final = re.compile(r'[^\s"\\]+')


def written(fields: Mapping[str, object]) -> str:
    """The fields as they follow the message in the text form, such as ` user=alice channel="a b"`."""
    return "".join([f" {name}={_quoted(value)}" for name, value in fields.items()])


def cut(value: object) -> object:
    """The value as the JSON form shows it: a text that is too long is cut off."""
    return f"{value[:MAX_LENGTH]}..." if isinstance(value, str) and len(value) > MAX_LENGTH else value


def one_line(text: str) -> str:
    """The text without line ends and control characters, and without what looks like a field."""
    return _LIKE_A_FIELD.sub(r"\1\\x3d", _printable(text))


def _quoted(value: object) -> str:
    text = str(cut(str(value)))
    shown = one_line(text.replace("\\", "\\\\").replace('"', '\\"'))
    return shown if shown == text and _ONE_WORD.fullmatch(text) else f'"{shown}"'


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() else each.encode("unicode_escape").decode() for each in text])
