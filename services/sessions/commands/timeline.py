"""`timeline`: all facts of a session in order, a line each, with lines derived from its connections."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple, assert_never

from proto.events import (
    BY_LOSS,
    CaughtUp,
    Closed,
    EdgeDraining,
    EdgeFound,
    EdgeLost,
    EdgeStarted,
    EdgeStopped,
    Erased,
    Lagged,
    Opened,
    Refreshed,
    Refused,
    SessionEvent,
    Subscribed,
    Unsubscribed,
)
from services.chassis.postgres.pool import Pool
from services.sessions.commands.meanings import end_in_words
from services.sessions.commands.question import NotFound, Question
from services.sessions.commands.refusal_meanings import why_refused
from services.sessions.commands.screen import Screen, client_of, counted, sized, spoken
from services.sessions.printing import printable
from services.sessions.queries.timeline_postgres import MAX_NAMED, ConnectionLife, SessionLife, Timeline, Timelines
from services.sessions.values import time_of

_COLUMNS: Final = ("TIME", "EDGE", "CONNECTION", "WHAT", "DETAILS")


class Line(NamedTuple):
    """What happened at a moment. `rank` orders lines of the same moment: a derived line follows its cause."""

    at: datetime
    rank: int
    connection: str
    what: str
    details: str


async def ask(pool: Pool, question: Question) -> Timeline:
    """The timeline, found by a whole id or the beginning of one. Raises `NotFound`."""
    id_, timelines = question.asked.id, Timelines(pool)
    found = await timelines.of(id_)
    if found is None:
        others = await timelines.beginning_with(id_)
        if len(others) > 1:
            names = ", ".join(map(printable, others[:MAX_NAMED])) + (" and others" if len(others) > MAX_NAMED else "")
            raise NotFound(
                f"several ids begin with {printable(id_)!r}, those of the sessions {names}: give more characters"
            )
        found = await timelines.of(others[0]) if others else None
    if found is None:
        raise NotFound(
            f"no session or connection {printable(id_)!r} is known: `who` and `why USER` name them; what is older than "
            "sessions.keep is gone"
        )
    return found


def show(answer: Timeline, question: Question, screen: Screen) -> None:
    """Prints the answer."""
    session = answer.session
    user = printable(session.user) or "an anonymous client"
    client = printable(client_of(session.client_name, session.client_version))
    screen.say(f"Session {printable(session.id)} of {user} ({client}): {_state(session, screen)} ({screen.zone}).")
    screen.say()
    edges = {one.id: one.edge for one in answer.connections}
    lines = lines_of(answer, screen)
    screen.table(
        _COLUMNS,
        [
            (_time(one.at, screen), edges.get(one.connection, ""), one.connection, one.what, one.details)
            for one in lines
        ],
        ids=(2,),
        below=4,
    )
    if answer.truncated:
        screen.say()
        screen.say("There is more: this is the beginning.")


def _time(at: datetime, screen: Screen) -> str:
    return screen.time(at, rest=f".{at.microsecond // 1000:03}")


def _state(session: SessionLife, screen: Screen) -> str:
    began = f"since {screen.time(session.opened_at)}"
    if session.ended_at is None:
        return f"connected {began}"
    if session.away_until is not None and session.away_until > screen.now:
        until = screen.time(session.away_until)
        return f"{began}, away since {screen.time(session.ended_at)}, may be resumed until {until}"
    return f"{began}, ended at {screen.time(session.ended_at)} with {session.end_code}"


def lines_of(answer: Timeline, screen: Screen) -> list[Line]:
    """All lines, in order: facts as the log has them, and lines derived from the connections."""
    lines = []
    for each in answer.facts:
        what, details = ("not known to this version", each.type) if each.event is None else _told(each.event, screen)
        lines.append(Line(each.at, 0, each.connection, what, details))
    lines += _derived(answer.connections)
    return sorted(lines, key=lambda one: (one.at, one.rank))


def _derived(connections: list[ConnectionLife]) -> Iterator[Line]:
    for one in connections:
        if one.close_by == BY_LOSS and one.closed_at is not None:
            yield Line(one.closed_at, 1, one.id, "edge lost", f"{one.edge} died: {one.close_code}")
    for one, later in pairwise(connections):
        moved = "" if one.edge == later.edge else f"moved from {one.edge} to {later.edge}"
        if one.closed_at is None:
            yield Line(later.opened_at, 1, later.id, "one more connection", moved)
            continue
        away = max(later.opened_at - one.closed_at, timedelta())
        yield Line(later.opened_at, 1, later.id, "resumed", ", ".join(filter(None, (f"after {spoken(away)}", moved))))


def _told(event: SessionEvent, screen: Screen) -> tuple[str, str]:
    """A fact in words: its name, and the details."""
    match event:
        case Opened():
            client = client_of(event.client_name, event.client_version)
            parts = (client, event.transport, event.encoding, event.address, event.user_agent, event.origin)
            return "opened", ", ".join(filter(None, parts))
        case Subscribed():
            return "subscribed", f"{event.channel}{_recovery(event)}"
        case Unsubscribed():
            if not event.code:
                return "unsubscribed", f"{event.channel}, by the client"
            reason = f' "{event.reason}"' if event.reason else ""
            return "unsubscribed", f"{event.channel}: {event.code}{reason}, {end_in_words(event.code, event.by)}"
        case Refreshed():
            until = datetime.fromtimestamp(time_of(event.expires_at) / 1000, UTC)
            expires = f"expires at {screen.time(until)}" if event.expires_at else "no longer expires"
            return "refreshed", f"{event.channel or 'the connection'}: {expires}"
        case Lagged():
            return "lags", f"{sized(event.waiting)} wait for the client"
        case CaughtUp():
            return "caught up", f"after {spoken(timedelta(milliseconds=time_of(event.lagged_ms)))}"
        case Closed():
            return "closed", _closed(event)
        case Refused():
            return "refused", _refused(event)
        case EdgeStarted() | EdgeDraining() | EdgeStopped() | EdgeLost() | EdgeFound():
            return "edge", type(event).__name__.removeprefix("Edge").lower()
        case Erased():
            return "erased", "everything about this user up to then"
        case _:
            assert_never(event)


def _recovery(event: Subscribed) -> str:
    match event.recovered:
        case None:
            return f" at offset {event.offset}" if event.offset else ""
        case True:
            return f": recovered {counted(event.recovered_count, 'message')} after offset {event.recovered_from}"
        case False:
            return f": a gap after offset {event.recovered_from}, goes on at {event.offset}"


def _refused(event: Refused) -> str:
    what = f"{event.action} {event.channel}" if event.channel else event.action
    code = f"{event.code} {event.reason}" if event.reason else str(event.code)
    times = f", {event.count:,} times" if event.count > 1 else ""
    return f"{what}: {code}, {why_refused(event.code, event.action, event.reason)}{times}"


def _closed(event: Closed) -> str:
    reason = f' "{event.reason}"' if event.reason else ""
    told = f"{event.code}{reason}, {end_in_words(event.code, event.by)}"
    if event.messages_in or event.messages_out:
        told += f"; {event.messages_out:,} out ({sized(event.bytes_out)}), {event.messages_in:,} in"
        told += f" ({sized(event.bytes_in)})"
    offsets = ", ".join(f"{channel} up to {offset}" for channel, offset in sorted(event.offsets.items()))
    return told + (f"; {offsets}" if offsets else "")
