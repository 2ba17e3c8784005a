"""Who applies the changes that it follows, in order, has what a question would answer: whatever happened, in whichever
commits, and with any filter."""

from __future__ import annotations

import json
import random
from typing import Any, Final

import msgspec
import pytest

from services.sessions.api.live import Hub, LiveFilter
from services.sessions.api.live_views import view_of
from services.sessions.changes import Change, Changes, changes_of, decode_changes, encode_changes
from services.sessions.projection import fold
from services.sessions.resident import Resident
from services.sessions.state import State
from tests.sessions.stories import WINDOW_MS, long_story

FILTERS: Final = (
    LiveFilter(),
    LiveFilter(user="ann"),
    LiveFilter(edge="edge-i1"),
    LiveFilter(channel="news"),
    LiveFilter(user="ann", edge="edge-i2"),
    LiveFilter(user="ann", channel="chat"),
    LiveFilter(edge="edge-i3", channel="news"),
)

NO_LONGER: Final = ("unsubscribed", "away", "ended")

Listed = dict[str, dict[str, Any]]


def listed(state: State, filter_: LiveFilter) -> Listed:
    """The sessions that the filter selects, by id: with `channel` those that are subscribed now."""
    return {
        row.id: session_in(msgspec.to_builtins(view_of(Change("opened", row.id, row))))
        for row in state.sessions.values()
        if (filter_.user is None or row.user == filter_.user)
        and (filter_.edge is None or row.edge == filter_.edge)
        and (filter_.channel is None or filter_.channel in channels_of(state, row.id))
    }


def channels_of(state: State, session: str) -> set[str]:
    """The channels to which any connection of the session is subscribed."""
    connections = [state.connections[name] for name in state.connections_of(session)]
    return {channel for one in connections if one.closed_at is None for channel in state.subscriptions.of(one.id)}


def session_in(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("change", "channels", "cut")}


class Client:
    """Applies what it is told, as docs/sessions-api.md says."""

    def __init__(self, hub: Hub, filter_: LiveFilter) -> None:
        self.filter = filter_
        self.sessions: Listed = {}
        self.channels: dict[str, set[str]] = {}
        self._follower = hub.follow(filter_, None, lambda: None)

    def apply(self, state: State) -> None:
        """Takes the events of a commit; `state` is what it reads anew if it must."""
        for kind, data, _ in self._follower.take():
            event = json.loads(data)
            if kind == "reset":
                self.sessions = listed(state, self.filter)
                self.channels = {id_: channels_of(state, id_) for id_ in self.sessions}
            elif kind == "removed" or self._has_left(event):
                self.sessions.pop(event["id"], None)
                self.channels.pop(event["id"], None)
            else:
                self.sessions[event["id"]] = session_in(event)
                channels = self.channels.setdefault(event["id"], set())
                if kind in NO_LONGER:
                    channels.difference_update(event["channels"])
                else:
                    channels.update(event["channels"])

    def _has_left(self, event: dict[str, Any]) -> bool:
        if self.filter.edge is not None and event["edge"] != self.filter.edge:
            return True
        return self.filter.channel is not None and event["change"] in NO_LONGER


@pytest.mark.parametrize("seed", range(25))
def test_who_applies_all_changes_has_what_a_question_would_answer(seed: int) -> None:
    chance, state, hub = random.Random(seed), Resident(WINDOW_MS), Hub()
    clients = [Client(hub, filter_) for filter_ in FILTERS]
    batches, at = long_story(seed), 0
    while at < len(batches):
        part = batches[at : at + chance.randint(1, 6)]
        fold(state, part)
        changes = changes_of(state, part)
        told = Changes(("e", at), ("e", at + len(part)), changes or [], changes is not None)
        assert decode_changes(encode_changes(told)) == told
        hub.heard(told)
        state.settle()
        at += len(part)
        for client in clients:
            client.apply(state)
            assert client.sessions == listed(state, client.filter), client.filter
            if client.filter.channel is None:  # otherwise it hears of this channel alone
                assert client.channels == {id_: channels_of(state, id_) for id_ in client.sessions}, client.filter
