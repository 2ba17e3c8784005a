"""The answers about read models, for which the structs of `queries` are not enough by themselves. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from services.sessions.queries.channels_postgres import ChannelHour, ChannelUse
from services.sessions.queries.edges_postgres import EdgeRun, EdgeState
from services.sessions.queries.periods import DAY_S, Period, floor
from services.sessions.queries.presence_postgres import PresentSession
from services.sessions.queries.refusals_postgres import Refusals, RefusedClient
from services.sessions.queries.timeline_postgres import ConnectionLife, SessionLife, Timeline
from services.sessions.queries.users_postgres import SeenUser


class TimelineEntry(Struct, kw_only=True):
    """A fact about a connection. `fact` is as the log has it; its own `at` is in Unix milliseconds."""

    at: datetime
    type: str
    connection: str
    fact: dict[str, Any]


class TimelineView(Struct, kw_only=True):
    """A session with its connections, oldest first, and the facts about them in order; `truncated` if there are more.
    Facts may be removed before the session is."""

    session: SessionLife
    connections: list[ConnectionLife]
    facts: list[TimelineEntry]
    truncated: bool

    @classmethod
    def of(cls, found: Timeline) -> TimelineView:
        """A timeline that was found."""
        facts = [
            TimelineEntry(at=one.at, type=one.type, connection=one.connection, fact=msgspec.json.decode(one.fact))
            for one in found.facts
        ]
        return cls(session=found.session, connections=found.connections, facts=facts, truncated=found.truncated)


class PresentView(Struct, kw_only=True):
    """Who was connected at `at`, newest sessions first. `more`: there were others, beyond the limit. `next` is the
    cursor of the page that follows, null on the last one."""

    at: datetime
    sessions: list[PresentSession]
    more: bool
    next: str | None


class UsersView(Struct, kw_only=True):
    """Users who were connected in the period, latest arrival first; `more`: there are others, beyond the limit. `next`
    is the cursor of the page that follows, null on the last one."""

    period: Period
    users: list[SeenUser]
    more: bool
    next: str | None


class ChannelsView(Struct, kw_only=True):
    """Channels, those with most subscribers first: now (`period` is null), or at their peak in the period. `more`:
    there are others, beyond the limit. `next` is the cursor of the page that follows, null on the last one, and where
    they are ordered by their peak."""

    period: Period | None
    channels: list[ChannelUse]
    more: bool
    next: str | None


class CurveView(Struct, kw_only=True):
    """A channel over a period: each hour or day of it, including those in which nothing changed."""

    channel: ChannelUse
    period: Period
    step: Literal["hour", "day"]
    curve: list[ChannelHour]


class RefusalsView(Struct, kw_only=True):
    """Counts of refusals in a period, and the latest refusals, exactly from `from` to `to`; `more`: there are others,
    beyond the limit. `next` is the cursor of the page that follows, null on the last one; on each page `counts` are of
    the whole period."""

    counts: Refusals
    latest: list[RefusedClient]
    more: bool
    next: str | None


class EdgeView(Struct, kw_only=True):
    """One run of an edge process. Moments that did not come, or are not known, are null."""

    instance: str
    edge: str
    state: EdgeState
    software: Annotated[str, Meta(description="The version of Fairlead that it ran, empty if it is not known.")]
    first_at: Annotated[datetime, Meta(description="The time of its first fact.")]
    last_at: Annotated[datetime, Meta(description="The time of its last fact.")]
    started_at: datetime | None
    draining_at: datetime | None
    stopped_at: datetime | None
    lost_at: datetime | None
    opened: Annotated[int, Meta(description="How many connections it opened.")]
    ended: Annotated[int, Meta(description="How many of them ended.")]
    hung_at: Annotated[
        datetime | None,
        Meta(description="When it had been heard last before it hung, or was cut off, for the last time."),
    ]
    found_at: Annotated[datetime | None, Meta(description="When it was heard again after that.")]
    times_hung: Annotated[int, Meta(description="How many times it was lost and then heard again.")]

    @classmethod
    def of(cls, run: EdgeRun) -> EdgeView:
        """A run that was found."""
        return cls(state=run.state, **msgspec.structs.asdict(run))


class EdgesView(Struct, kw_only=True):
    """Runs of edges of which something is known in the period, latest start first; `more`: there are others, beyond the
    limit. `next` is the cursor of the page that follows, null on the last one."""

    period: Period
    edges: list[EdgeView]
    more: bool
    next: str | None


def by_day(hours: list[ChannelHour]) -> list[ChannelHour]:
    """Turns a curve by hour into one by day (in UTC)."""
    days: dict[datetime, ChannelHour] = {}
    for hour in hours:
        at = floor(hour.at, DAY_S)
        day = days.setdefault(at, ChannelHour(at, 0, 0, 0))
        day.peak, day.last = max(day.peak, hour.peak), hour.last
        day.subscriptions += hour.subscriptions
    return list(days.values())
