"""The arguments of the questions: read at each start, so this imports nothing large.

`--since` and `--limit` are None if they were not given, so that a command can tell; `question.Question` has their
defaults.
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime, timedelta
from typing import Final

from services.chassis.process.launch import argument
from services.sessions.commands import clock
from services.sessions.commands.moments import beginning, moment, of_presence

_MAX_LIMIT: Final = 100_000
_MAX_CODE: Final = 2**31 - 1
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_SINCE: Final = (
    "start of the period: a duration before now (1h, 2 days), or a time (14:02, 2026-11-28 14:02) (default: {})"
)
_UNTIL: Final = "end of the period (default: now)"


def describe_who(parser: ArgumentParser) -> None:
    """Adds `at`, `channel`, `user`, `edge`, `by`, `limit`."""
    parser.add_argument(
        "--at", type=_of_presence, metavar="TIME", help='when: 14:02, "yesterday 14:02", "10m ago" (default: now)'
    )
    parser.add_argument("--channel", type=_name, metavar="CHANNEL", help="only sessions that were subscribed to it")
    parser.add_argument("--user", type=_unicode, metavar="USER", help='only this user\'s sessions; "": anonymous ones')
    parser.add_argument("--edge", type=_name, metavar="EDGE", help="only sessions that were connected to it")
    ways = ("user", "address", "version", "edge")
    parser.add_argument("--by", choices=ways, help="count sessions by this instead of listing them")
    _limit(parser, 100, "sessions")
    _json(parser)


def describe_why(parser: ArgumentParser) -> None:
    """Adds `user`, `since`, `until`, `limit`."""
    parser.add_argument("user", type=_user, metavar="USER", help="the user's id")
    _period(parser, _DAY)
    _limit(parser, 20, "ends, and refusals")
    _json(parser)


def describe_timeline(parser: ArgumentParser) -> None:
    """Adds `id`."""
    what = "the id of a session or of one of its connections, or the beginning of one"
    parser.add_argument("id", type=_name, metavar="SESSION|CONNECTION", help=what)
    _json(parser)


def describe_drops(parser: ArgumentParser) -> None:
    """Adds `by`, `code`, `all`, `since`, `until`."""
    parser.add_argument(
        "--by", choices=("code", "version", "edge", "by"), default="code", help="what to count by (default: code)"
    )
    parser.add_argument("--code", type=_code, metavar="CODE", help="only this code")
    parser.add_argument("--all", action="store_true", help="include the clients' own goodbyes")
    _period(parser, _HOUR)
    _json(parser)


def describe_channels(parser: ArgumentParser) -> None:
    """Adds `peak`, `channel`, `since`, `until`, `limit`."""
    parser.add_argument("--peak", action="store_true", help="the highest peaks of the period first")
    parser.add_argument("--channel", type=_name, metavar="CHANNEL", help="one channel, by hour and by day")
    _period(parser, _DAY)
    _limit(parser, 30, "channels")
    _json(parser)


def describe_versions(parser: ArgumentParser) -> None:
    """Adds `before`, `since_deploy`, `since`, `until`."""
    parser.add_argument(
        "--before", type=_moment, metavar="TIME", help="compare the time since then with the time before"
    )
    parser.add_argument(
        "--since-deploy", action="store_true", help="what changed since edges first ran another version of Fairlead"
    )
    _period(parser, _DAY)
    _json(parser)


def describe_refusals(parser: ArgumentParser) -> None:
    """Adds `by`, `since`, `until`."""
    parser.add_argument(
        "--by", choices=("action", "code", "user"), default="action", help="what to count by (default: action)"
    )
    _period(parser, _DAY)
    _json(parser)


def describe_edges(parser: ArgumentParser) -> None:
    """Adds `since`, `until`, `limit`."""
    _period(parser, _DAY)
    _limit(parser, 100, "runs of edges")
    _json(parser)


def describe_users(parser: ArgumentParser) -> None:
    """Adds `user`, `since`, `until`, `limit`."""
    what = "one user, with their devices; without it, the users seen last"
    parser.add_argument("user", type=_user, nargs="?", metavar="USER", help=what)
    _period(parser, _DAY)
    _limit(parser, 50, "users")
    _json(parser)


def _period(parser: ArgumentParser, default: timedelta) -> None:
    before = ("an hour" if default == _HOUR else "a day") + " before the end"
    parser.add_argument("--since", type=_beginning, metavar="TIME", help=_SINCE.format(before))
    parser.add_argument("--until", type=_beginning, metavar="TIME", help=_UNTIL)
    parser.set_defaults(default_period=default)


def _limit(parser: ArgumentParser, default: int, what: str) -> None:
    parser.add_argument("--limit", type=_count, metavar="N", help=f"show at most N {what} (default: {default})")
    parser.set_defaults(default_limit=default)


def _json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON object instead of text")


def _count(text: str) -> int:
    return _number(text, 1, _MAX_LIMIT)


def _code(text: str) -> int:
    return _number(text, 0, _MAX_CODE)


def _number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise ArgumentTypeError(f"expected a number from {least} to {most}, not {text!r}")
    return int(text)


def _name(text: str) -> str:
    """The name of a channel, edge or session. It is never "", which may come from an unset variable of a script."""
    if not text:
        raise ArgumentTypeError("expected a name, not an empty one")
    return _unicode(text)


def _user(text: str) -> str:
    """The id of a user, not "", which stands for all anonymous clients."""
    if not text:
        raise ArgumentTypeError('expected a user id; `who --user ""` lists anonymous clients, who are not told apart')
    return _unicode(text)


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ArgumentTypeError(f"expected UTF-8, not {text!r}") from None
    return text


@argument
def _moment(text: str) -> datetime:
    return moment(text, clock.now())


@argument
def _of_presence(text: str) -> datetime:
    return of_presence(text, clock.now())


@argument
def _beginning(text: str) -> datetime:
    return beginning(text, clock.now())
