"""Stories of facts, as Hypothesis makes them: facts that edges could write, in any order that the log could have."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from hypothesis import strategies as st

from proto.events import (
    CaughtUp,
    Closed,
    EdgeDraining,
    EdgeFound,
    EdgeLost,
    EdgeStarted,
    EdgeStopped,
    Erased,
    EventBatch,
    Lagged,
    Opened,
    Refreshed,
    Refused,
    SessionEvent,
    Subscribed,
    Unsubscribed,
    user_digest,
)
from services.sessions.rows import DAY_MS

WINDOW_MS = 20_000

_connections = st.sampled_from([f"c{n}" for n in range(9)])
_moments = st.integers(0, 50_000)  # two and a half windows: some come back in time, some do not
_instances = st.sampled_from(["i1", "i2", "i3"])
_channels = st.sampled_from(["news", "room:\0 1"])
_users = st.sampled_from(["", "ann", "bob"])
_addresses = st.sampled_from(["", "10.0.0.1", "10.0.0.2"])
_versions = st.sampled_from(["1.0", "1.1"])

_facts: st.SearchStrategy[SessionEvent] = st.one_of(
    st.builds(
        Opened,
        at=_moments,
        connection=_connections,
        user=_users,
        session_key=st.sampled_from(["", "phone"]),
        client_version=_versions,
        address=_addresses,
    ),
    st.builds(
        Closed,
        at=_moments,
        connection=_connections,
        code=st.sampled_from([1000, 1001, 1006, 3503]),
        by=st.sampled_from(["", "client", "network"]),
    ),
    st.builds(Subscribed, at=_moments, connection=_connections, channel=_channels, recovered=st.none() | st.booleans()),
    st.builds(Unsubscribed, at=_moments, connection=_connections, channel=_channels),
    st.builds(EdgeLost, at=_moments, instance=_instances),
    st.builds(EdgeFound, at=_moments, instance=_instances),
    st.builds(
        Refused,
        at=_moments,
        action=st.sampled_from(["connect", "subscribe"]),
        code=st.sampled_from([103, 3500]),
        connection=st.just("") | _connections,
        user=_users,
        count=st.integers(1, 3),
    ),
    st.builds(Refreshed, at=_moments, connection=_connections, expires_at=_moments),
    st.builds(Lagged, at=_moments, connection=_connections, waiting=_moments),
    st.builds(CaughtUp, at=_moments, connection=_connections, lagged_ms=_moments),
    st.builds(EdgeStarted, at=_moments, software=_versions),
    st.builds(EdgeDraining, at=_moments, connections=st.integers(0, 9)),
    st.builds(EdgeStopped, at=_moments, left=st.integers(0, 9)),
    st.builds(Erased, at=_moments, user_digest=st.sampled_from(["ann", "bob"]).map(user_digest)),
)


def _numbered(parts: Sequence[tuple[str, list[SessionEvent]]]) -> list[EventBatch]:
    numbers: dict[str, int] = {}
    batches = []
    for instance, events in parts:
        numbers[instance] = numbers.get(instance, 0) + 1
        batches.append(EventBatch(edge=f"edge-{instance}", instance=instance, number=numbers[instance], events=events))
    return batches


stories = st.lists(st.tuples(_instances, st.lists(_facts, max_size=6)), max_size=14).map(_numbered)
"""Batches of three edges."""


@st.composite
def tabs_of_two_edges(draw: st.DrawFn, apart_ms: int) -> list[list[EventBatch]]:
    """The batches of two edges, each in order, about the tabs of one user. Every `apart_ms` one closes or not, another
    is opened before that or not, and one after it or not."""
    names = (f"c{n}" for n in itertools.count())
    told: dict[str, list[SessionEvent]] = {"i1": [], "i2": []}
    open_tabs: list[tuple[str, str]] = []

    def opened(at: int) -> None:
        instance, name = draw(st.sampled_from(["i1", "i2"])), next(names)
        told[instance].append(Opened(at=at, connection=name, user="ann"))
        open_tabs.append((instance, name))

    for step in range(1, draw(st.integers(2, 8))):
        at = step * apart_ms
        if draw(st.booleans()):
            opened(at - draw(st.integers(1, 2_000)))
        if draw(st.booleans()) and open_tabs:
            instance, name = open_tabs.pop(draw(st.integers(0, len(open_tabs) - 1)))
            told[instance].append(Closed(at=at, connection=name, code=draw(st.sampled_from([1000, 1001, 1006]))))
        if draw(st.booleans()):
            opened(at + draw(st.integers(0, WINDOW_MS + 2_000)))
    batches = []
    for instance, facts in told.items():
        facts.sort(key=lambda fact: fact.at)
        cuts = draw(st.lists(st.integers(0, len(facts)), max_size=4))
        places = sorted({0, len(facts), *cuts})
        batches.append(_numbered([(instance, facts[start:end]) for start, end in itertools.pairwise(places)]))
    return batches


def shuffled(edges: Sequence[Sequence[EventBatch]], chance: random.Random) -> list[EventBatch]:
    """The batches of all edges in an order that the log could have: those of one edge keep theirs."""
    waiting = [list(batches) for batches in edges if batches]
    order = []
    while waiting:
        edge = chance.choice(waiting)
        order.append(edge.pop(0))
        waiting = [batches for batches in waiting if batches]
    return order


def split(batches: list[EventBatch], cuts: list[int]) -> list[list[EventBatch]]:
    """The batches in stretches, cut at these places."""
    places = sorted({cut % (len(batches) + 1) for cut in cuts} | {0, len(batches)})
    return [batches[start:end] for start, end in itertools.pairwise(places)]


def long_story(seed: int) -> list[EventBatch]:
    """A hundred facts of three edges and few users, crowded in time, so that sessions meet each other. Of an even
    `seed` they are told around midnight."""
    chance = random.Random(seed)
    names = [f"c{n}" for n in range(40)]
    parts: list[tuple[str, list[SessionEvent]]] = []
    for step in range(40):
        at = step * 1_500 + (0 if seed % 2 else DAY_MS - 30_000)
        facts: list[SessionEvent] = []
        for _ in range(chance.randint(0, 4)):
            now, name = at + chance.randint(-9_000, 9_000), chance.choice(names)
            match chance.randint(0, 14):
                case 0 | 1 | 2 | 3:
                    user, version = chance.choice(["ann", "ann", "bob", ""]), chance.choice(["1", "2"])
                    address = f"10.0.0.{len(facts)}"
                    facts.append(Opened(now, name, user, client_version=version, address=address))
                case 4 | 5 | 6 | 7:
                    facts.append(Closed(at=now, connection=name, code=chance.choice([1000, 1001, 1001, 1006])))
                case 8 | 12 | 13:
                    facts.append(Subscribed(at=now, connection=name, channel=chance.choice(["news", "chat"])))
                case 9:
                    facts.append(Unsubscribed(at=now, connection=name, channel="news"))
                case 14:
                    facts.append(chance.choice(_beside(now, name)))
                case 10:
                    facts.append(EdgeLost(at=now, instance=chance.choice(["i1", "i2", "i3"])))
                case _:
                    facts.append(EdgeFound(at=now, instance=chance.choice(["i1", "i2", "i3"])))
        parts.append((chance.choice(["i1", "i2", "i3"]), facts))
    return _numbered(parts)


def _beside(at: int, connection: str) -> list[SessionEvent]:
    """Facts that change nothing of sessions, and one that erases a user."""
    return [
        Refused(at=at, action="subscribe", code=103, connection=connection, user="bob", transport="sse", count=2),
        Lagged(at=at, connection=connection, waiting=70_000),
        CaughtUp(at=at, connection=connection, lagged_ms=40),
        Refreshed(at=at, connection=connection, expires_at=at + 60_000),
        EdgeStarted(at=at, software="1.0"),
        EdgeDraining(at=at, connections=2),
        EdgeStopped(at=at),
        Erased(at=at, user_digest=user_digest("bob")),
    ]
