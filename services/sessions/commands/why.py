"""`why`: the ends of a user's connections and the refusals, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from proto.events import is_resumable
from services.chassis.postgres.pool import Pool
from services.sessions.commands.edges import became
from services.sessions.commands.meanings import ended_by, meaning
from services.sessions.commands.question import NotFound, Question
from services.sessions.commands.refusal_meanings import why_refused
from services.sessions.commands.screen import Screen, client_of, counted, sized, spoken
from services.sessions.printing import printable
from services.sessions.queries.refusals_postgres import RefusedClient
from services.sessions.queries.user_story_postgres import CatchUp, ConnectionEnd, UserStories, UserStory


async def ask(pool: Pool, question: Question) -> UserStory:
    """The user's story. Raises `NotFound` if the user is not known."""
    user: str = question.asked.user
    story = await UserStories(pool).why(user, question.period, question.limit)
    if not story.known:
        raise NotFound(f"no user {printable(user)!r} is known: `users` lists those who were seen last")
    return story


def show(answer: UserStory, question: Question, screen: Screen) -> None:
    """Prints the answer, newest first."""
    user = printable(answer.user)
    ends = counted(len(answer.ends), "connection") + " ended"
    refusals = counted(sum(one.count for one in answer.refusals), "refusal")
    least = "at least " if answer.more else ""
    now = f"{counted(answer.connected, 'session')} connected now" if answer.connected else "not connected now"
    if not answer.ends and not answer.refusals:
        screen.say(f"{user}: no connection ended and nothing was refused {screen.period(answer.period)}; {now}.")
    else:
        screen.say(f"{user}: {least}{ends}, {refusals} {screen.period(answer.period)}; {now}.")
    told = [(end.at, _of_end(end, screen)) for end in answer.ends]
    told += [(one.at, _of_refusal(one, screen)) for one in answer.refusals]
    for _, lines in sorted(told, key=lambda one: one[0], reverse=True):
        screen.say()
        screen.block(lines[0], lines[1:])
    if answer.more:
        screen.say()
        screen.say("There are more: --limit shows them, --since and --until narrow it down.")
    if answer.unnamed:
        screen.say()
        screen.say(
            f"{counted(answer.unnamed, 'refusal')} without a name in this period may concern {user}, too: the edges did"
            " not know the user."
        )


def _of_end(end: ConnectionEnd, screen: Screen) -> list[str]:
    reason = f' "{printable(end.reason)}"' if end.reason else ""
    lines = [
        f"{screen.time(end.at)}  {end.code}{reason}: {meaning(end.code, end.by)}",
        f"Ended by {ended_by(end.by)}, after {spoken(end.at - end.opened_at)} on {printable(end.edge)}"
        f" ({_client(end)}, session {printable(end.session)}).",
    ]
    if (edge := _edge_then(end, screen)) is not None:
        lines.append(edge)
    sent = end.delivered
    if sent is not None and (sent.messages_in or sent.messages_out):
        lines.append(
            f"Until then {counted(sent.messages_out, 'message')} ({sized(sent.bytes_out)}) to the client,"
            f" {counted(sent.messages_in, 'message')} ({sized(sent.bytes_in)}) from it, including pings and replies."
        )
    return [*lines, *_what_then(end, screen)]


def _client(end: ConnectionEnd) -> str:
    address = f" from {printable(end.address)}" if end.address else ""
    return printable(client_of(end.client_name, end.client_version)) + address


def _edge_then(end: ConnectionEnd, screen: Screen) -> str | None:
    """What happened to the edge at that time, if anything did."""
    run = end.edge_run
    if run is None:
        return None
    moments: list[datetime] = [at for at in (run.draining_at, run.stopped_at, run.lost_at) if at is not None]
    leaving = bool(moments) and (end.by in ("drain", "loss") or min(moments) <= end.at)
    if leaving or run.hung_during(end.at):
        return f"{printable(end.edge)}: {became(run, screen)}."
    return None


def _what_then(end: ConnectionEnd, screen: Screen) -> Iterator[str]:
    """How the client came back, and what it missed."""
    back = end.back
    if back is not None:
        where = "the same edge" if back.edge == end.edge else f"another edge, {printable(back.edge)}"
        went_on = "the session went on" if back.resumed else "in a new session"
        away = back.at - end.at
        when = f"Back after {spoken(away)}" if away >= timedelta() else f"Back {spoken(-away)} before that"
        yield f"{when} on {where}: {went_on}."
        for channel in back.channels:
            yield _missed(channel)
        had = {} if end.delivered is None else end.delivered.offsets
        for name in sorted(had.keys() - {one.channel for one in back.channels}):
            yield f"{printable(name)}: not subscribed again; delivered up to offset {had[name]}."
        return
    if end.away_until is None and is_resumable(end.code):
        yield "Not back: the session went on over another connection."
    elif end.away_until is None:
        yield "Not back: after this code SDKs do not reconnect by themselves."
    elif end.away_until > screen.now:
        yield f"Not back yet: the session may be resumed until {screen.time(end.away_until)}."
    else:
        yield f"Not back. The session could be resumed until {screen.time(end.away_until)}."
    for name, offset in sorted({} if end.delivered is None else end.delivered.offsets.items()):
        yield f"{printable(name)}: delivered up to offset {offset}."


def _missed(one: CatchUp) -> str:
    channel = printable(one.channel)
    match one.recovered:
        case None:
            return f"{channel}: subscribed again, without asking for what was missed."
        case True if one.count:
            return (
                f"{channel}: nothing missed, {counted(one.count, 'message')} after offset {one.after} delivered late."
            )
        case True:
            return f"{channel}: nothing missed, nothing was published after offset {one.after}."
        case False:
            return (
                f"{channel}: a gap. What was published after offset {one.after}, up to {one.offset}, was not delivered."
            )


def _of_refusal(one: RefusedClient, screen: Screen) -> list[str]:
    what = f"{printable(one.action)} refused" + (f" for {printable(one.channel)}" if one.channel else "")
    reason = f' "{printable(one.reason)}"' if one.reason else ""
    lines = [f"{screen.time(one.at)}  {what}: {one.code}{reason}: {why_refused(one.code, one.action, one.reason)}"]
    whence = f" from {printable(one.address)}" if one.address else ""
    client = printable(client_of(one.client_name, one.client_version))
    came = "".join(f", {printable(told)}" for told in (one.transport, one.user_agent, one.origin) if told)
    lines.append(f"By {printable(one.edge)} ({client}{whence}{came}).")
    if one.count > 1:
        lines.append(f"{one.count:,} times: the edge wrote only their sum.")
    return lines
