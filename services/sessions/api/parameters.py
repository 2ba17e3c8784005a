"""The parameters of questions: how each is written, described and read. Pure.

A parameter is text, as in a URL. Over NATS it may also be a number or a list of texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, get_args

from services.sessions.api.views import SessionState
from services.sessions.queries.periods import FIRST_DAY, LAST_DAY
from services.sessions.values import identity, label, text

MAX_VALUE: Final = 2048
"""Characters of a parameter. A user id has no limit here: the chassis limits the request head as a whole."""

MAX_CODE: Final = 2**31 - 1

Values = dict[str, Any]
"""The values of parameters by their names, as `Parameter.read` gives them."""


class BadParameter(Exception):
    """A parameter has an invalid value."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class Parameter(NamedTuple):
    """`read` makes the value from text, and raises ValueError with what is expected instead."""

    name: str
    description: str
    schema: dict[str, Any]
    read: Callable[[str], Any]
    in_path: bool = False


def read_all(given: Iterable[tuple[str, str]], known: Sequence[Parameter]) -> Values:
    """The values. Raises `BadParameter` for an unknown, repeated or invalid one."""
    by_name = {parameter.name: parameter for parameter in known}
    values: Values = {}
    for name, written in given:
        parameter = by_name.get(name)
        if parameter is None:
            expected = ", ".join(sorted(each.name for each in known if not each.in_path)) or "none"
            shown = name[:64].encode(errors="replace").decode()
            raise BadParameter(shown, f"unknown parameter, expected {expected}")
        if name in values:
            raise BadParameter(name, "expected once")
        if not _is_unicode(written):
            raise BadParameter(name, "expected UTF-8")
        try:
            values[name] = parameter.read(written)
        except ValueError as error:
            raise BadParameter(name, str(error)) from None
    for parameter in known:
        if parameter.in_path and parameter.name not in values:  # over NATS it may be missing
            raise BadParameter(parameter.name, "expected a value")
    return values


def written(value: Any) -> str:
    """A parameter from JSON, as it would be in a URL. Raises ValueError."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    raise ValueError("expected text, a number, or a list of texts")


# --- reading --------------------------------------------------------------------------------------------------------


def _is_unicode(value: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def valid_text(value: str) -> str:
    """Text that PostgreSQL accepts."""
    if len(value) > MAX_VALUE or "\0" in value or not _is_unicode(value):
        raise ValueError(f"expected valid text of at most {MAX_VALUE} characters")
    return value


def stored_text(value: str) -> str:
    """A name as the rows have it."""
    return text(valid_text(value))


def stored_label(value: str) -> str:
    """The name of an edge, or of a client's software, as the rows have it."""
    return label(valid_text(value))


def user_id(value: str) -> str:
    """A user id as the rows have it."""
    if not _is_unicode(value):
        raise ValueError("expected valid text")
    return identity(value)


def somebody(value: str) -> str:
    """The id of a user, not "", which stands for all anonymous clients."""
    if not value:
        raise ValueError("expected a user id; anonymous clients are not told apart: /who?user= lists their sessions")
    return user_id(value)


def some_text(value: str) -> str:
    """Text of at least one character."""
    if not value:
        raise ValueError("expected at least one character")
    return stored_text(value)


def number(least: int, most: int) -> Callable[[str], int]:
    """Reads a number between the two."""

    def read(value: str) -> int:
        if not (value.isascii() and value.isdigit() and len(value) <= 10 and least <= int(value) <= most):
            raise ValueError(f"expected a number between {least} and {most}")
        return int(value)

    return read


def moment(value: str) -> datetime:
    """A time with its zone, in UTC."""
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is None or len(value) < 17:
            raise ValueError
        # Times that no zone can shift out of the calendar.
        return min(max(found, FIRST_DAY), LAST_DAY).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            'expected a time with its zone, such as "2026-11-29T14:02:00Z" ("+" is %2B in a URL)'
        ) from None


def one_of(*names: str) -> Callable[[str], str]:
    """Reads one of these."""

    def read(value: str) -> str:
        if value not in names:
            raise ValueError(f"expected {', '.join(names[:-1])} or {names[-1]}")
        return value

    return read


def some_of(*names: str) -> Callable[[str], tuple[str, ...]]:
    """Reads some of these, each once, separated by commas."""

    def read(value: str) -> tuple[str, ...]:
        found = tuple(value.split(","))
        if len(set(found)) < len(found) or not set(found) <= set(names):
            raise ValueError(f"expected some of {', '.join(names)}, separated by commas, each once")
        return found

    return read


_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_INTERVAL: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)


def interval(value: str) -> int:
    """A duration of whole minutes, in seconds."""
    found = _INTERVAL.fullmatch(value)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 60 <= seconds <= 366 * 86_400 or seconds % 60:
        raise ValueError('expected whole minutes, such as "15m", "1h" or "1d", at most 366d')
    return seconds


# --- the parameters of several questions ------------------------------------------------------------------------------

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100

_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}

ID: Final = Parameter("id", "The session's id, or that of one of its connections.", _TEXT, valid_text, in_path=True)
USER_IN_PATH: Final = Parameter("user", "The user id.", _TEXT, user_id, in_path=True)
SOMEBODY: Final = Parameter("user", "The user id.", _TEXT, somebody, in_path=True)
LIMIT: Final = Parameter(
    "limit",
    "Maximum number of rows in the answer.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    number(1, MAX_LIMIT),
)

FROM: Final = Parameter("from", "Only what happened, or sessions opened, at this time or later.", _TIME, moment)
TO: Final = Parameter("to", "Only what happened, or sessions opened, before this time.", _TIME, moment)
AT: Final = Parameter("at", "Only sessions that were connected at this time.", _TIME, moment)
USER: Final = Parameter("user", "Only sessions of this user; empty for anonymous clients.", _TEXT, user_id)
CHANNEL: Final = Parameter(
    "channel", "Only sessions that were subscribed to this channel; with `at`: at that time.", _TEXT, stored_text
)
EDGE: Final = Parameter(
    "edge",
    "Only sessions whose current or last connection is on the edge of this name; with `at`: that of that time.",
    _TEXT,
    stored_label,
)
END_CODE: Final = Parameter(
    "end_code",
    "Only sessions that ended with this close code, or are away after it.",
    {"type": "integer", "minimum": 0, "maximum": MAX_CODE},
    number(0, MAX_CODE),
)
CLIENT_NAME: Final = Parameter("client_name", "Only clients of this name.", _TEXT, stored_label)
CLIENT_VERSION: Final = Parameter("client_version", "Only clients of this version.", _TEXT, stored_label)
ADDRESS: Final = Parameter(
    "address", 'Only sessions whose current or last address begins with this text, such as "10.1.".',
    {"type": "string", "minLength": 1}, some_text,
)  # fmt: skip
STATES: Final[tuple[str, ...]] = get_args(SessionState)
STATE: Final = Parameter(
    "state", "Only sessions in this state now.", {"type": "string", "enum": list(STATES)}, one_of(*STATES)
)
