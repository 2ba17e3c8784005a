"""All rows of the read models, in a form in which those of two folds or stores can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from msgspec.json import encode

from services.sessions.projection import NAMES
from services.sessions.rows import Subscription
from services.sessions.state import State
from services.sessions.subscriptions import Key


def rows_of(state: State, models: Iterable[str] = tuple(NAMES)) -> dict[str, Any]:
    """The rows of these models, by model. What counts nothing is as good as not there."""
    timeline = Counter(
        (row.connection, row.number, encode(fact)) for row in state.timeline.values() for fact in row.facts
    )
    rows: dict[str, Any] = {
        "sessions": (state.sessions, state.connections, subscriptions_of(state)),
        "timeline": timeline,
        "users": state.users,
        "channels": (state.channels, state.channel_hours),
        "drops": _counted(state.drops),
        "versions": _counted(state.openings),
        "refusals": (_counted(state.refusal_counts), Counter(map(encode, state.refusals))),
        "edges": state.edges,
    }
    return {model: rows[model] for model in models}


def subscriptions_of(state: State) -> dict[Key, Subscription]:
    """All subscriptions, open or not."""
    there = state.subscriptions
    lasting = [row for by_channel in there.open.values() for row in by_channel.values()]
    return {(row.connection, row.channel, row.since): row for row in [*there.ended.values(), *lasting]}


def stays_of(state: State) -> list[tuple[str, str]]:
    """The connection and channel of each subscription."""
    return sorted((connection, channel) for connection, channel, _ in subscriptions_of(state))


def _counted(counts: Counter[Any]) -> dict[Any, int]:
    return {key: count for key, count in counts.items() if count}
