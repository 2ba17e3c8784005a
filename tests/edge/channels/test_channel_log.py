"""The position rule: each line of it as an example, and against a model of a log, a network and their failures."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec import Raw

from proto.messages import Publication
from proto.publications import LiveMessage, size_of
from services.edge.channels import channel_log
from services.edge.channels.channel_log import ChannelLog, Rings


def publication(sequence: int, size: int = 0) -> Publication:
    return Publication(data=Raw(b'"' + b"x" * size + b'"'), offset=sequence)


def live(sequence: int, previous: int) -> LiveMessage:
    return LiveMessage(sequence, previous, publication(sequence))


def log_at(last: int) -> ChannelLog:
    """A log that stands at `last` and is in sync."""
    log = ChannelLog()
    log.start("e", last)
    log.end_sync()
    return log


def admit(log: ChannelLog, sequences: Iterable[int]) -> None:
    for sequence in sequences:
        assert log.admit(sequence, publication(sequence))


def offsets(found: list[Publication] | None) -> list[int] | None:
    return None if found is None else [publication.offset for publication in found]


class TestTheRule:
    @pytest.mark.parametrize("sequence", [1, 4, 5])
    def test_a_known_publication_is_dropped(self, sequence: int) -> None:
        log = log_at(5)
        assert not log.accept(live(sequence, 0))
        assert not log.needs_sync

    @pytest.mark.parametrize("previous", [0, 3, 5])
    def test_the_next_publication_is_delivered(self, previous: int) -> None:
        """0: the predecessor was evicted; 3: an older one is all that is retained."""
        assert log_at(5).accept(live(9, previous))

    def test_a_publication_after_a_gap_waits_for_a_sync(self) -> None:
        log = log_at(5)
        assert not log.accept(live(9, 7))
        assert log.needs_sync

    def test_everything_new_waits_while_syncing(self) -> None:
        log = log_at(5)
        log.begin_sync()
        assert not log.accept(live(9, 5))
        assert not log.needs_sync  # it is being read already
        assert log.gap

    def test_nothing_is_delivered_before_it_is_known_where_the_log_stands(self) -> None:
        log = ChannelLog()
        assert not log.accept(live(9, 0))
        log.start("e", 9)
        assert log.next_buffered() is None
        assert not log.gap

    def test_a_message_is_admitted_once_and_in_order(self) -> None:
        log = log_at(5)
        assert log.admit(9, publication(9))
        assert not log.admit(9, publication(9))
        assert not log.admit(7, publication(7))
        assert log.last == 9


class TestSync:
    def test_the_buffer_is_drained_in_order_up_to_the_next_gap(self) -> None:
        log = log_at(5)
        for message in (live(9, 7), live(11, 9), live(15, 13)):
            assert not log.accept(message)
        log.begin_sync()
        admit(log, [7])
        drained = []
        while (message_ := log.next_buffered()) is not None:
            assert log.admit(message_.sequence, message_.publication)
            drained.append(message_.sequence)
        assert drained == [9, 11]
        assert log.gap  # 13 is missing: the log must be read again

    def test_sequences_missing_in_the_log_are_skipped_after_another_read(self) -> None:
        log = log_at(5)
        assert not log.accept(live(15, 13))
        log.begin_sync()
        assert log.next_buffered() is None
        message = log.next_buffered(regardless=True)
        assert message is not None
        assert message.sequence == 15
        assert not log.gap

    def test_publications_already_read_from_the_log_are_not_drained(self) -> None:
        log = log_at(5)
        log.begin_sync()
        assert not log.accept(live(9, 5))
        admit(log, [9])
        assert log.next_buffered() is None
        assert not log.gap

    def test_the_buffer_is_bounded_and_an_overflow_is_a_gap(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(channel_log, "BUFFER_MESSAGES", 2)
        log = log_at(0)
        log.begin_sync()
        for sequence in (1, 2, 3):
            assert not log.accept(live(sequence, sequence - 1))
        admit(log, [1, 2])
        assert log.next_buffered() is None
        assert log.gap  # 3 was not kept: it must be read
        log.begin_sync()
        admit(log, [3])
        assert not log.gap


class TestRing:
    def test_it_answers_from_where_the_edge_began(self) -> None:
        log = log_at(5)
        admit(log, [7, 9])
        assert offsets(log.after(5)) == [7, 9]
        assert offsets(log.after(6)) == [7, 9]
        assert offsets(log.after(7)) == [9]
        assert offsets(log.after(9)) == []
        assert log.after(4) is None
        assert log.after(10) is None

    def test_it_holds_a_number_of_publications(self) -> None:
        log = log_at(0)
        admit(log, range(1, channel_log.RING_PUBLICATIONS + 3))
        assert log.after(1) is None
        assert offsets(log.after(2)) == list(range(3, channel_log.RING_PUBLICATIONS + 3))

    def test_it_holds_a_number_of_bytes(self) -> None:
        log = log_at(0)
        half = channel_log.RING_BYTES // 2
        for sequence in (1, 2, 3):
            assert log.admit(sequence, publication(sequence, half))
        assert log.after(1) is None
        assert offsets(log.after(2)) == [3]

    def test_a_publication_larger_than_the_ring_is_not_kept(self) -> None:
        log = log_at(0)
        assert log.admit(1, publication(1, channel_log.RING_BYTES))
        assert log.after(0) is None
        assert offsets(log.after(1)) == []

    def test_a_place_without_a_publication_counts(self) -> None:
        log = log_at(5)
        assert log.admit(7, None)
        assert offsets(log.after(5)) == []
        assert log.last == 7

    def test_it_is_not_read_across_a_loss(self) -> None:
        log = log_at(5)
        admit(log, [7])
        log.skip_to(20)
        admit(log, [21])
        assert log.after(7) is None
        assert offsets(log.after(20)) == [21]

    def test_what_all_rings_hold_is_summed_up(self) -> None:
        rings, each = Rings(), size_of(publication(1))
        logs = [ChannelLog(rings), ChannelLog(rings)]
        for log in logs:
            log.start("e", 0)
            admit(log, range(1, channel_log.RING_PUBLICATIONS + 3))
        assert rings.total_bytes == 2 * channel_log.RING_PUBLICATIONS * each
        logs[0].remove(channel_log.RING_PUBLICATIONS)
        assert rings.total_bytes == (2 + channel_log.RING_PUBLICATIONS) * each
        logs[0].skip_to(1000)
        logs[1].close()
        admit(logs[1], [1000])
        assert rings.total_bytes == 0, "a closed channel counts no longer, whatever comes after"

    def test_publications_removed_from_the_log_are_gone_from_the_ring(self) -> None:
        log = log_at(5)
        admit(log, [7, 9, 12])
        assert log.admit(13, None)
        log.remove(9)  # 12 was published while the history was removed
        assert log.after(7) is None
        assert log.after(8) is None
        assert offsets(log.after(9)) == [12]
        assert offsets(log.after(12)) == []
        log.remove(12)
        assert log.after(9) is None
        assert offsets(log.after(12)) == []
        log.remove(5)
        assert offsets(log.after(12)) == [], "an older mark changes nothing"

    def test_a_mark_of_the_future_does_not_move_the_ring_past_the_log(self) -> None:
        log = log_at(5)
        admit(log, [7])
        log.remove(100)
        assert offsets(log.after(7)) == []
        admit(log, [9])
        assert offsets(log.after(7)) == [9]

    def test_the_newest_publication_is_known_while_it_is_in_the_ring(self) -> None:
        def newest() -> int | None:
            return None if log.newest is None else log.newest.offset

        log = log_at(5)
        assert newest() is None
        admit(log, [7, 9])
        assert newest() == 9
        assert log.admit(10, None)
        assert newest() == 9, "a place without a publication is none"
        assert log.admit(11, publication(11, channel_log.RING_BYTES))
        assert newest() is None, "an older one is not the newest"
        admit(log, [12])
        log.remove(12)
        assert newest() is None

    def test_removed_publications_leave_room_for_new_ones(self) -> None:
        log = log_at(0)
        third = channel_log.RING_BYTES // 3
        for sequence in (1, 2):
            assert log.admit(sequence, publication(sequence, third))
        log.remove(2)
        for sequence in (3, 4):
            assert log.admit(sequence, publication(sequence, third))
        assert offsets(log.after(2)) == [3, 4]

    def test_it_does_not_go_back(self) -> None:
        log = log_at(5)
        log.skip_to(3)
        assert log.last == 5

    def test_a_new_epoch_forgets_everything(self) -> None:
        log = log_at(5)
        admit(log, [7])
        log.start("f", 2)
        assert (log.epoch, log.last, log.syncing) == ("f", 2, True)
        assert log.after(1) is None
        assert offsets(log.after(2)) == []


# --- the model ------------------------------------------------------------------------------------------------------

HISTORY_SIZE = 4
STUCK_ROUNDS = 3  # as `sync` has it: read in vain so often, and a buffered message is taken all the same


class Edge(RuleBasedStateMachine):
    """A stream that evicts, a network that loses, repeats and reorders, an edge that syncs when it has to."""

    def __init__(self) -> None:
        super().__init__()
        self.sequence = 0  # of the stream, which other channels share
        self.stored: list[int] = []
        self.retained: list[int] = []
        self.network: list[LiveMessage] = []
        self.rings = Rings()
        self.log = ChannelLog(self.rings)
        self.delivered: list[int] = []
        self.started_at: int | None = None
        self.read: tuple[list[int], bool] | None = None  # the answer to a sync's read, under way to the edge
        self.stuck = 0

    # the stream

    @rule(others=st.integers(0, 3))
    def publish(self, others: int) -> None:
        self.sequence += others + 1
        previous = self.retained[-1] if self.retained else 0
        self.stored.append(self.sequence)
        self.retained.append(self.sequence)
        del self.retained[:-HISTORY_SIZE]
        self.network.append(live(self.sequence, previous))

    @rule(count=st.integers(1, HISTORY_SIZE))
    def expire(self, count: int) -> None:
        del self.retained[:count]

    # the network

    @precondition(lambda self: self.network)
    @rule(data=st.data(), again=st.booleans())
    def bring(self, data: st.DataObject, again: bool) -> None:
        position = data.draw(st.integers(0, min(3, len(self.network) - 1)))
        message = self.network[position] if again else self.network.pop(position)
        if self.log.accept(message):
            self.deliver(message.sequence)
        if self.log.needs_sync:
            self.log.begin_sync()

    @precondition(lambda self: self.network)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        del self.network[: data.draw(st.integers(1, len(self.network)))]

    # the edge

    @precondition(lambda self: self.started_at is None)
    @rule()
    def start(self) -> None:
        self.started_at = self.retained[-1] if self.retained else self.sequence
        self.log.start("e", self.started_at)

    @precondition(lambda self: self.started_at is not None and not self.log.syncing)
    @rule()
    def audit(self) -> None:
        if self.retained and self.retained[-1] > self.log.last:
            self.log.begin_sync()

    @precondition(lambda self: self.started_at is not None and self.log.syncing and self.read is None)
    @rule()
    def ask(self) -> None:
        after = [sequence for sequence in self.stored if sequence > self.log.last]
        entries = [sequence for sequence in after if sequence in self.retained]
        self.read = entries, entries == after

    @precondition(lambda self: self.read is not None)
    @rule()
    def answer(self) -> None:
        assert self.read is not None
        (entries, whole), self.read = self.read, None
        if not whole:
            self.log.skip_to(entries[0] - 1 if entries else self.log.last)
        for sequence in entries:
            self.deliver(sequence)
        self.stuck = 0 if entries else self.stuck + 1
        while (message := self.log.next_buffered(self.stuck >= STUCK_ROUNDS)) is not None:
            self.deliver(message.sequence)
        if self.log.gap:
            self.log.begin_sync()
        else:
            self.log.end_sync()

    @precondition(lambda self: self.started_at is not None)
    @rule()
    def settle(self) -> None:
        """After any history of events an undisturbed audit brings the edge to the end of the log."""
        for _ in range(STUCK_ROUNDS + 3):
            if self.log.syncing:
                if self.read is None:
                    self.ask()
                self.answer()
            else:
                self.audit()
        assert not self.log.syncing
        assert not self.log.gap
        assert not self.retained or self.log.last >= self.retained[-1]

    def deliver(self, sequence: int) -> None:
        before = self.log.last
        if self.log.admit(sequence, publication(sequence)):
            self.delivered.append(sequence)
            missed = [other for other in self.retained if before < other < sequence]
            assert not missed, f"{missed} are in the log and were passed over"

    # the invariants

    @invariant()
    def the_rings_hold_what_it_holds(self) -> None:
        held = self.log.after(self.log.floor)
        assert held is not None and self.rings.total_bytes == sum(map(size_of, held))

    @invariant()
    def it_is_delivered_in_order_and_once(self) -> None:
        assert self.delivered == sorted(set(self.delivered))
        assert self.started_at is None or all(sequence > self.started_at for sequence in self.delivered)

    @invariant()
    def nothing_retained_is_missed(self) -> None:
        if self.started_at is not None:
            seen = [sequence for sequence in self.retained if self.started_at < sequence <= self.log.last]
            assert set(seen) <= set(self.delivered)

    @invariant()
    def the_ring_answers_exactly_or_not_at_all(self) -> None:
        for offset in range(self.log.last + 2):
            found = self.log.after(offset)
            if found is not None:
                assert offsets(found) == [sequence for sequence in self.delivered if sequence > offset]
            elif self.delivered:
                assert offset < self.log.floor or offset > self.log.last


Edge.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestEdge = Edge.TestCase
