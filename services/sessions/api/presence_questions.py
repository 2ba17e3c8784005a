"""The questions about who was connected, and why connections ended: `who` and `why` at the command line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, get_args

from services.sessions.api.model_views import PresentView
from services.sessions.api.paging import Paged
from services.sessions.api.parameters import (
    AT,
    CHANNEL,
    DEFAULT_LIMIT,
    EDGE,
    FROM,
    LIMIT,
    SOMEBODY,
    TO,
    USER,
    Parameter,
    Values,
    one_of,
)
from services.sessions.api.questions import Question
from services.sessions.queries.periods import Period
from services.sessions.queries.places import Place
from services.sessions.queries.presence_postgres import Presence
from services.sessions.queries.present_counts_postgres import PresenceCounts, PresentBy, PresentCounts
from services.sessions.queries.user_story_postgres import UserStories, UserStory

_WAYS: Final[tuple[str, ...]] = get_args(PresentBy)
BY: Final = Parameter(
    "by",
    "What sessions are counted by; `version` is that of the client, with its name.",
    {"type": "string", "enum": list(_WAYS), "default": "edge"},
    one_of(*_WAYS),
)
WHO: Final = Paged("who", Place, (USER, CHANNEL, EDGE))


def _narrower(values: Values) -> str:
    more = [f"`{name}`" for name in ("edge", "channel") if name not in values]
    return f"add {', or '.join(more)}" if more else "try again"


class PresenceQuestions:
    """The questions about a moment, and about the ends of a user's connections."""

    def __init__(self, presence: Presence, counts: PresenceCounts, stories: UserStories) -> None:
        self._presence = presence
        self._counts = counts
        self._stories = stories

    def questions(self) -> Sequence[Question]:
        """All of them."""
        return (
            Question(
                "who",
                "/who",
                "List who was connected at a moment, by default now, where, and in which channels",
                (AT, USER, CHANNEL, EDGE, LIMIT, WHO.cursor),
                PresentView,
                self._who,
                narrower=_narrower,
                of_a_moment=True,
            ),
            Question(
                "who_counts",
                "/who/counts",
                "Count who was connected at a moment, by default now",
                (BY, AT, CHANNEL, EDGE),
                PresentCounts,
                self._counted,
                narrower=_narrower,
                of_a_moment=True,
            ),
            Question(
                "why",
                "/users/{user:text}/why",
                "Get the ends of a user's connections: why, what followed, what was missed; and the user's refusals",
                (SOMEBODY, FROM, TO, LIMIT),
                UserStory,
                self._why,
                "user {user!r} is not known: it never connected, or its data was removed",
                period=timedelta(days=1),
            ),
        )

    async def _who(self, values: Values) -> PresentView:
        filters = {name: values.get(name) for name in ("user", "channel", "edge")}
        limit = values.get("limit", DEFAULT_LIMIT)
        found = await self._presence.at(values["at"], limit, **filters, after=WHO.after(values))
        last = found.sessions[-1] if found.more else None
        following = None if last is None else WHO.cursor_at(values, Place(last.opened_at, last.id))
        return PresentView(at=found.at, sessions=found.sessions, more=found.more, next=following)

    async def _counted(self, values: Values) -> PresentCounts:
        filters = {name: values.get(name) for name in ("channel", "edge")}
        return await self._counts.at(values["at"], values.get("by", "edge"), **filters)

    async def _why(self, values: Values) -> UserStory | None:
        period = Period(values["from"], values["to"])
        story = await self._stories.why(values["user"], period, values.get("limit", DEFAULT_LIMIT))
        return story if story.known else None
