"""What every `services.sessions.store.Store` promises. Each implementation's test module subclasses this suite."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from proto.events import (
    Closed,
    EdgeFound,
    EdgeLost,
    EdgeStarted,
    EdgeStopped,
    EventBatch,
    Opened,
    SessionEvent,
    Subscribed,
    Unsubscribed,
    decode_batch,
)
from services.sessions import entries
from services.sessions.commits import Step, commit_portion
from services.sessions.entries import DeadLetter, Entry
from services.sessions.overtaken import Overtaken
from services.sessions.projection import NAMES, fold
from services.sessions.read_ahead import Portion
from services.sessions.read_set import read_set_of
from services.sessions.state import State
from services.sessions.store import ORIGIN, Outcome, Position, PositionConflict, Store
from tests.contract.session_rows import rows_of
from tests.sessions.poison import poison, poisoned
from tests.sessions.stories import WINDOW_MS, long_story, split


def batch(number: int, *events: SessionEvent, instance: str = "i1") -> EventBatch:
    return EventBatch(edge="edge-1", instance=instance, number=number, events=list(events))


class StoreContract:
    """An empty store, with a resume window of `WINDOW_MS`."""

    models: Sequence[str] = tuple(NAMES)
    """The read models that it keeps."""

    def same_rows(self, one: State, other: State) -> bool:
        """Whether all rows of its models are alike."""
        return rows_of(one, self.models) == rows_of(other, self.models)

    def opened(self) -> AbstractAsyncContextManager[Store]:
        raise NotImplementedError("the subclass gives an empty store")

    async def rows(self, store: Store) -> State:
        """All rows that the store holds."""
        raise NotImplementedError

    async def letters(self, store: Store) -> list[DeadLetter]:
        """All dead letters that the store holds, with their data, oldest first."""
        raise NotImplementedError

    async def archive(self, store: Store) -> dict[tuple[str, int], bytes]:
        """The messages that the store has archived, by epoch and sequence."""
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

    async def test_messages_are_archived_with_the_facts_that_they_bring_or_not_at_all(self, store):
        entries = [Entry(n, f"message {n}".encode(), "i\0\ud800", None, stored_at=1_700_000_000_123) for n in (1, 2)]
        await store.commit(ORIGIN, Position("epoch", 2), [], archived=entries)
        with pytest.raises(PositionConflict):
            await store.commit(ORIGIN, Position("epoch", 3), [], archived=[entries[0]._replace(sequence=3)])
        assert await self.archive(store) == {("epoch", 1): b"message 1", ("epoch", 2): b"message 2"}
        again = [entries[0]._replace(data=b"a user who was erased"), entries[1]._replace(sequence=3)]
        await store.commit(Position("epoch", 2), Position("epoch", 3), [], archived=again)
        found = await self.archive(store)
        assert (found["epoch", 1], found["epoch", 3]) == (b"message 1", b"message 2"), "no row is written over"

    async def test_it_moves_only_from_where_it_is_expected_and_else_nothing_changes(self, store):
        first = Position("epoch", 3)
        await store.commit(ORIGIN, first, [batch(1, Opened(at=1, connection="c1", user="ann"))])
        before = await self.rows(store)
        for expected in (ORIGIN, Position("epoch", 2), Position("other", 3)):
            with pytest.raises(PositionConflict) as conflict:
                await store.commit(expected, Position("epoch", 9), [batch(2, Closed(at=2, connection="c1", code=1000))])
            assert conflict.value.actual == first
        assert await store.position() == first and self.same_rows(await self.rows(store), before)
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

    async def test_edges_run_from_their_start_until_they_stop_or_are_lost(self, store):
        at = ORIGIN
        steps: tuple[tuple[SessionEvent, str, set[str]], ...] = (
            (Opened(at=1, connection="c1"), "old", set()),
            (EdgeStarted(at=2), "i1", {"i1"}),
            (EdgeStarted(at=3), "i2", {"i1", "i2"}),
            (EdgeStopped(at=4), "i2", {"i1"}),
            (EdgeLost(at=5, instance="i1"), "watch-i1", set()),
            (EdgeFound(at=6, instance="i1"), "watch-i1", {"i1"}),
        )
        for number, (event, writer, running) in enumerate(steps, 1):
            upto = Position("epoch", number)
            await store.commit(at, upto, [batch(number, event, instance=writer)])
            assert await store.running_instances() == running, event
            at = upto

    @pytest.mark.parametrize("seed", range(12))
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
        assert self.same_rows(kept, wanted)

    async def test_letters_are_put_aside_with_the_position_or_not_at_all(self, store):
        put = [DeadLetter("epoch", n, "i1", "no batch", b"rubbish", 7) for n in (1, 2)]
        with pytest.raises(PositionConflict):
            await store.commit(Position("epoch", 9), Position("epoch", 10), [], None, put)
        assert await self.letters(store) == []
        await store.commit(ORIGIN, Position("epoch", 2), [], None, put)
        assert [each._replace(put_aside_at=0) for each in await self.letters(store)] == put
        assert await store.position() == Position("epoch", 2)

    async def test_letters_that_wait_for_an_upgrade_push_out_no_other(self, store, monkeypatch):
        monkeypatch.setattr(entries, "MAX_NEWER_LETTERS", 3)
        at = ORIGIN
        for first in (1, 11):
            upto = Position("epoch", first + 9)
            letters = [
                DeadLetter("epoch", first + n, "i1", "because", b"bytes", 5, newer=n % 5 != 0) for n in range(10)
            ]
            outcome = await store.commit(at, upto, [], None, letters)
            assert outcome.without_room == (5 if first == 1 else 8)
            at = upto
        assert [one.sequence for one in await self.letters(store)] == [1, 2, 3, 4, 6, 11, 16]
        assert [one.newer for one in await self.letters(store)] == [False, True, True, True, False, False, False]

    async def test_what_the_log_dropped_is_counted_once_and_without_what_is_archived(self, store):
        archived = Entry(1, b"bytes", "i1", None, stored_at=1), Entry(3, b"bytes", "i1", None, stored_at=1)
        await store.commit(ORIGIN, Position("epoch", 1), [], archived=archived)
        stretches = [Overtaken(2, 5), Overtaken(7, 7)]
        with pytest.raises(PositionConflict):
            await store.commit(ORIGIN, Position("epoch", 8), [], overtaken=stretches)
        outcome = await store.commit(Position("epoch", 1), Position("epoch", 8), [], overtaken=stretches)
        assert outcome.overtaken == 4

    async def test_a_replayed_letter_is_folded_once_whatever_its_number_and_gone(self, store):
        late, opened = batch(1, Subscribed(at=2, connection="c1", channel="news")), Opened(at=1, connection="c1")
        letter = DeadLetter("epoch", 1, "i1", "because", b"bytes", 5)
        at = Position("epoch", 2)
        await store.commit(ORIGIN, at, [batch(2, opened)], None, [letter])
        rest = letter._replace(reason="another", data=b"less", size=4)
        assert await store.replay(letter, late, rest) == Outcome(1)
        (left,) = await self.letters(store)
        assert (left.reason, left.data, left.size) == ("another", b"less", 4)
        assert await store.replay(letter, late) == Outcome(1)
        assert await store.replay(letter, late) is None
        assert await self.letters(store) == []
        assert (await store.position(), await store.last_number("i1")) == (at, 2)
        assert self.same_rows(await self.rows(store), fold(State(WINDOW_MS), [batch(2, opened), late]))

    @pytest.mark.parametrize("seed", range(8))
    async def test_whatever_is_poisonous_all_else_is_folded_as_if_it_were_not_there(self, store, seed, monkeypatch):
        chance = random.Random(seed)
        log = poisoned(long_story(seed), chance)
        steps: list[Step] = []
        at = 0
        poison(monkeypatch)
        while at < len(log.entries):
            part = log.entries[at : at + chance.randint(1, 15)]
            at += len(part)
            portion = Portion(at, part, 0, None)
            await commit_portion(store, steps[-1].position if steps else Position("", 0), portion, steps.append)
        assert await store.position() == Position("", len(log.entries))
        assert self.same_rows(await self.rows(store), fold(State(WINDOW_MS), log.good))
        letters = await self.letters(store)
        assert [each.sequence for each in letters] == log.refused
        assert [each.sequence for step in steps for each in step.letters] == log.refused
        assert all(each.reason and each.instance and len(each.data) == each.size for each in letters)

        monkeypatch.undo()  # the reason is mended: they are folded where they are replayed
        mended = [each for each in letters if each.sequence in log.mendable]
        replayed = [decode_batch(each.data) for each in mended]
        for letter, late in zip(mended, replayed, strict=True):
            assert await store.replay(letter, late) is not None
        assert self.same_rows(await self.rows(store), fold(State(WINDOW_MS), [*log.good, *replayed]))
        assert [each.sequence for each in await self.letters(store)] == sorted({*log.refused} - {*log.mendable})
