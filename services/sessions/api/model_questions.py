"""The questions about users, channels, drops, refusals, edges, versions, and the life of a session."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from services.sessions.api.model_views import (
    ChannelsView,
    CurveView,
    EdgesView,
    EdgeView,
    RefusalsView,
    TimelineView,
    UsersView,
    by_day,
)
from services.sessions.api.paging import Paged
from services.sessions.api.parameters import (
    DEFAULT_LIMIT,
    FROM,
    ID,
    LIMIT,
    SOMEBODY,
    TO,
    BadParameter,
    Parameter,
    Values,
    number,
    one_of,
    stored_text,
    user_id,
)
from services.sessions.api.questions import Question
from services.sessions.queries.channels_postgres import MAX_HOURS, Channels
from services.sessions.queries.drops_postgres import DropCounts, Drops
from services.sessions.queries.edges_postgres import Edges
from services.sessions.queries.periods import Period
from services.sessions.queries.places import ChannelPlace, EdgePlace, RefusalPlace, UserPlace
from services.sessions.queries.refusals_postgres import RefusalCounts
from services.sessions.queries.subscribed_channels_postgres import SubscribedChannels
from services.sessions.queries.timeline_postgres import Timelines
from services.sessions.queries.users_postgres import KnownUser, Users
from services.sessions.queries.versions_postgres import VersionQueries, Versions

DAY: Final = timedelta(days=1)
PERIOD: Final = (FROM, TO)
COUNTED_PERIOD: Final = (
    FROM._replace(description="Count from this time on, rounded down to a whole minute."),
    TO._replace(description="Count up to this time, rounded up to a whole minute."),
)


def _choice(name: str, description: str, *values: str) -> Parameter:
    schema = {"type": "string", "enum": list(values), "default": values[0]}
    return Parameter(name, description, schema, one_of(*values))


CHANNEL_IN_PATH: Final = Parameter("channel", "The channel.", {"type": "string"}, stored_text, in_path=True)
ORDER: Final = _choice("order", "By subscribers now, or by their peak in the period.", "subscribers", "peak")
STEP: Final = _choice("step", "The steps of the curve.", "hour", "day")
DROPS_BY: Final = _choice("by", "What ends are counted by; `by` is who ended them.", "code", "version", "edge", "by")
REFUSALS_BY: Final = _choice("by", "What refusals are counted by.", "action", "code", "user")
GOODBYES: Final = _choice("goodbyes", "Whether to include ends that the client wanted.", "no", "yes")
CODE: Final = Parameter("code", "Only ends with this close code.", {"type": "integer"}, number(0, 2**31 - 1))
REFUSED_USER: Final = Parameter(
    "user",
    "Count and list only refusals of this user; empty: of anonymous clients, and of those whose user is not known.",
    {"type": "string"},
    user_id,
)

USERS: Final = Paged("users", UserPlace)
CHANNELS: Final = Paged("channels", ChannelPlace, described="; with `order=subscribers` only")
REFUSALS: Final = Paged("refusals", RefusalPlace, (REFUSED_USER,))
EDGES: Final = Paged("edges", EdgePlace)


class ModelQuestions:
    """The questions that read models other than `sessions` answer."""

    def __init__(
        self,
        timelines: Timelines,
        users: Users,
        channels: Channels,
        subscribed_channels: SubscribedChannels,
        drops: DropCounts,
        refusals: RefusalCounts,
        edges: Edges,
        versions: VersionQueries,
    ) -> None:
        self._timelines = timelines
        self._users = users
        self._channels = channels
        self._subscribed_channels = subscribed_channels
        self._drops = drops
        self._refusals = refusals
        self._edges = edges
        self._versions = versions

    def questions(self) -> Sequence[Question]:
        """All of them."""
        no_session, no_user, no_channel = (
            "there is no session {id!r}",
            "user {user!r} is not known: it never connected, or its data was removed",
            "nobody ever subscribed to channel {channel!r}",
        )
        return (
            Question(
                "timeline",
                "/sessions/{id}/timeline",
                "Get all facts of a session's life, in order",
                (ID,),
                TimelineView,
                self._timeline,
                no_session,
            ),
            Question(
                "users",
                "/users",
                "List users who were connected in a period, latest arrival first",
                (*PERIOD, LIMIT, USERS.cursor),
                UsersView,
                self._seen,
                period=DAY,
            ),
            Question("user", "/users/{user:text}", "Get a user", (SOMEBODY,), KnownUser, self._user, no_user),
            Question(
                "channels",
                "/channels",
                "List the channels with the most subscribers",
                (ORDER, *PERIOD, LIMIT, CHANNELS.cursor),
                ChannelsView,
                self._most_used,
                period=DAY,
            ),
            Question(
                "channel",
                "/channels/{channel:text}",
                "Get the curve of a channel",
                (CHANNEL_IN_PATH, STEP, *PERIOD),
                CurveView,
                self._curve,
                no_channel,
                period=DAY,
            ),
            Question(
                "drops",
                "/drops",
                "Count ends of connections",
                (DROPS_BY, CODE, GOODBYES, *COUNTED_PERIOD),
                Drops,
                self._dropped,
                period=DAY,
            ),
            Question(
                "refusals",
                "/refusals",
                "Count refusals, and list the latest",
                (REFUSALS_BY, REFUSED_USER, *COUNTED_PERIOD, LIMIT, REFUSALS.cursor),
                RefusalsView,
                self._refused,
                period=DAY,
            ),
            Question(
                "edges",
                "/edges",
                "List runs of edges",
                (*PERIOD, LIMIT, EDGES.cursor),
                EdgesView,
                self._ran,
                period=DAY,
            ),
            Question(
                "versions",
                "/versions",
                "Count connections by client version, in the period and in the one before",
                COUNTED_PERIOD,
                Versions,
                self._used,
                period=DAY,
            ),
        )

    async def _timeline(self, values: Values) -> TimelineView | None:
        found = await self._timelines.of(values["id"])
        return None if found is None else TimelineView.of(found)

    async def _seen(self, values: Values) -> UsersView:
        limit = _limit(values)
        found = await self._users.seen(period_of(values), limit + 1, USERS.after(values))
        following = USERS.next_page(values, found, limit, lambda one: UserPlace(one.came_at, one.user))
        return UsersView(period=period_of(values), users=found[:limit], more=following is not None, next=following)

    async def _user(self, values: Values) -> KnownUser | None:
        return await self._users.one(values["user"])

    async def _most_used(self, values: Values) -> ChannelsView:
        period, limit = period_of(values), _limit(values)
        if values.get("order") == "peak":
            _check_hours(period)
            if "cursor" in values:
                raise BadParameter("cursor", "expected no cursor with `order=peak`, whose list has no pages")
            hours, peaks = await self._channels.peaks(period, limit + 1)
            return ChannelsView(period=hours, channels=peaks[:limit], more=len(peaks) > limit, next=None)
        found = await self._subscribed_channels.page(limit + 1, CHANNELS.after(values))
        following = CHANNELS.next_page(values, found, limit, lambda one: ChannelPlace(one.subscribers, one.channel))
        return ChannelsView(period=None, channels=found[:limit], more=len(found) > limit, next=following)

    async def _curve(self, values: Values) -> CurveView | None:
        _check_hours(period_of(values))
        found = await self._channels.curve(values["channel"], period_of(values))
        if found is None:
            return None
        step = values.get("step", "hour")
        curve = found.hours if step == "hour" else by_day(found.hours)
        return CurveView(channel=found.use, period=found.period, step=step, curve=curve)

    async def _dropped(self, values: Values) -> Drops:
        return await self._drops.ask(
            period_of(values),
            values.get("by", "code"),
            code=values.get("code"),
            with_goodbyes=values.get("goodbyes") == "yes",
        )

    async def _refused(self, values: Values) -> RefusalsView:
        period, limit = period_of(values), _limit(values)
        latest = await self._refusals.ones(period, limit, values.get("user"), REFUSALS.after(values))
        counts = await self._refusals.ask(period, values.get("by", "action"), values.get("user"))
        following = None if latest.next is None else REFUSALS.cursor_at(values, latest.next)
        return RefusalsView(counts=counts, latest=latest.rows, more=following is not None, next=following)

    async def _ran(self, values: Values) -> EdgesView:
        limit = _limit(values)
        runs = await self._edges.during(period_of(values), limit + 1, EDGES.after(values))
        edges = [EdgeView.of(run) for run in runs[:limit]]
        following = EDGES.next_page(values, runs, limit, lambda run: EdgePlace(run.began_at, run.instance))
        return EdgesView(period=period_of(values), edges=edges, more=following is not None, next=following)

    async def _used(self, values: Values) -> Versions:
        return await self._versions.ask(period_of(values))


def _check_hours(period: Period) -> None:
    if period.until - period.since > MAX_HOURS * timedelta(hours=1):
        raise BadParameter("from", f"expected a period of at most {MAX_HOURS // 24} days")


def period_of(values: Values) -> Period:
    """The period that a question is about."""
    return Period(values["from"], values["to"])


def _limit(values: Values) -> int:
    found: int = values.get("limit", DEFAULT_LIMIT)
    return found
