"""What every `services.sessions.store.Store` promises. Each implementation's test module subclasses this suite."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from proto.events import Closed, EdgeFound, EdgeLost, EventBatch, Opened, SessionEvent, Subscribed, Unsubscribed
from services.sessions.projection import fold
from services.sessions.read_set import read_set_of
from services.sessions.rows import State
from services.sessions.store import ORIGIN, Outcome, Position, PositionConflict, Store
from tests.sessions.stories import WINDOW_MS, long_story, split


def batch(number: int, *events: SessionEvent, instance: str = "i1") -> EventBatch:
    return EventBatch(edge="edge-1", instance=instance, number=number, events=list(events))


def same_rows(one: State, other: State) -> bool:
    return (one.sessions, one.connections, one.subscriptions) == (
        other.sessions,
        other.connections,
        other.subscriptions,
    )


class StoreContract:
    """An empty store, with a resume window of `WINDOW_MS`."""

    def opened(self) -> AbstractAsyncContextManager[Store]:
        raise NotImplementedError("the subclass gives an empty store")

    async def rows(self, store: Store) -> State:
        """All that the store holds."""
        raise NotImplementedError

    @pytest.fixture
    async def store(self, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
        self.request = request
        async with self.opened() as store:
            yield store

    async def test_the_position_moves_with_the_rows(self, store):
        assert await store.position() == ORIGIN
        first = Position("epoch", 3)
        assert await store.commit(ORIGIN, first, [batch(1, Opened(at=1, connection="c1", user="ann"))]) == Outcome(1)
        assert await store.position() == first
        assert await store.commit(first, Position("another", 1), []) == Outcome()
        assert await store.position() == Position("another", 1)

    async def test_it_moves_only_from_where_it_is_expected_and_else_nothing_changes(self, store):
        first = Position("epoch", 3)
        await store.commit(ORIGIN, first, [batch(1, Opened(at=1, connection="c1", user="ann"))])
        before = await self.rows(store)
        for expected in (ORIGIN, Position("epoch", 2), Position("other", 3)):
            with pytest.raises(PositionConflict) as conflict:
                await store.commit(expected, Position("epoch", 9), [batch(2, Closed(at=2, connection="c1", code=1000))])
            assert conflict.value.actual == first
        assert await store.position() == first and same_rows(await self.rows(store), before)
        assert await store.last_number("i1") == 1 and await store.open_instances() == {"i1"}

    async def test_a_batch_that_comes_again_is_left_out(self, store):
        opened, closed = batch(1, Opened(at=1, connection="c1")), batch(2, Closed(at=2, connection="c1", code=1000))
        at = Position("epoch", 2)
        assert (await store.commit(ORIGIN, at, [opened, closed, closed])).duplicates == 1
        other = batch(1, Opened(at=5, connection="c2"), instance="i2")
        assert await store.commit(at, Position("other", 4), [opened, closed, other]) == Outcome(1, duplicates=2)
        assert await store.open_instances() == {"i2"}

    async def test_the_last_batch_of_every_writer_is_known(self, store):
        assert await store.last_number("i1") == 0 and await store.writers("") == {}
        batches = [batch(7, instance="i1"), batch(1, instance="i2"), batch(2, instance="i2"), batch(1, instance="x")]
        await store.commit(ORIGIN, Position("epoch", 4), batches)
        assert [await store.last_number(name) for name in ("i1", "i2", "x", "i")] == [7, 2, 1, 0]
        assert await store.writers("i") == {"i1": 7, "i2": 2}

    async def test_a_commit_says_what_it_did(self, store):
        at = ORIGIN
        steps: tuple[tuple[list[SessionEvent], Outcome], ...] = (
            ([Opened(at=1, connection="c1", user="ann")], Outcome(1)),
            ([Closed(at=2, connection="c1", code=1001)], Outcome(1, interrupted=1)),
            ([Opened(at=3, connection="c2", user="ann")], Outcome(1, resumed=1)),
            ([Subscribed(at=4, connection="c2", channel="x")], Outcome(1)),
            ([Closed(at=5, connection="never", code=1000)], Outcome(1, unknown=1)),
            ([EdgeLost(at=6, instance="i1")], Outcome(1, edges_lost=1, interrupted=1)),
            ([EdgeFound(at=7, instance="i1"), Unsubscribed(at=8, connection="c2", channel="x")], Outcome(2)),
        )
        for number, (events, expected) in enumerate(steps, 1):
            assert await store.commit(at, Position("epoch", number), [batch(number, *events)]) == expected, events
            at = Position("epoch", number)

    async def test_only_edges_with_open_connections_are_open(self, store):
        assert await store.open_instances() == set()
        opened = [batch(1, Opened(at=1, connection=f"c-{name}"), instance=name) for name in ("i1", "i2")]
        await store.commit(ORIGIN, Position("epoch", 2), opened)
        assert await store.open_instances() == {"i1", "i2"}
        await store.commit(
            Position("epoch", 2), Position("epoch", 3), [batch(2, Closed(at=2, connection="c-i1", code=1000))]
        )
        assert await store.open_instances() == {"i2"}

    @pytest.mark.parametrize("seed", range(24))
    async def test_however_a_story_is_cut_the_rows_are_the_fold_over_everything(self, store, seed):
        batches = long_story(seed)
        chance = random.Random(seed)
        at = ORIGIN
        for stretch in split(batches, [chance.randint(0, 40) for _ in range(chance.choice([3, 10, 80]))]):
            upto = Position("epoch", at.sequence + len(stretch))
            # As the projector does it: before it is known which batches have been applied.
            again = batches[max(0, at.sequence - 3) : at.sequence]
            read_set = read_set_of([*again, *stretch]) if seed % 2 else None
            await store.commit(at, upto, [*again, *stretch], read_set)
            at = upto
        kept, wanted = await self.rows(store), fold(State(WINDOW_MS), batches)
        assert wanted.resumed, "a story in which nobody comes back proves little"
        assert same_rows(kept, wanted)
