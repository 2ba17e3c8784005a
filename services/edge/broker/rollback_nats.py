"""Finds out whether a log's stream is still the same log, or was rolled back to an older copy of it.

An operator restores a backup, or a machine dies and NATS loses the last seconds. Then sequences are used again for
other messages, and an earlier position may name a message that its client never received. Once the log has grown past
that position, nothing in it shows this. Three things are compared:

- what this edge has seen, and the marks of all edges (`stream_marks_nats`): a stream that is behind, or has another
  message at a mark, was rolled back, and its epoch is void;
- the leader of the stream: data can be replaced only while NATS does not run. After a restart of NATS, or with another
  leader, an edge that ran all the time vouches for the stream if the stream has everything that the edge knows of. An
  edge that knows nothing asks such edges (`vouching_nats`). If there is none, it ends the epoch where the stream is:
  positions up to there stay valid (`log_lineage`);
- the past epochs of the stream: a stream in an epoch that had ended is an older copy.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from proto import subjects
from services.chassis.nats.following import last_followed
from services.chassis.nats.headers import seconds_of
from services.chassis.nats.link import NatsLink, NobodyAnswers
from services.chassis.nats.stream_identity import Lock, change_metadata, stored_at
from services.chassis.nats.streams import StreamState, stream_state
from services.edge.broker.log_lineage import Lineage
from services.edge.broker.stream_marks_nats import Mark, StreamMarks
from services.edge.broker.vouching_nats import Vouching

_MANY: Final = 3
"""With this many replicas, a stream survives the loss of a server, and keeps all that it has acknowledged as long as
most of them run."""

log = logging.getLogger(__name__)


class Known(NamedTuple):
    """What was known of a stream before its state was asked for.

    `seen`: the sequence that this edge knows the stream to have reached in `epoch`, which is "" if the edge has just
    started. `doubted`: something shows that the stream may be another one. `connected_until`: when this edge last lost
    its connection to NATS, in Unix seconds of NATS's clock; 0 if it never did.
    """

    epoch: str
    seen: int
    mark: Mark | None
    doubted: bool = False
    connected_until: float = 0.0


class RollbackGuard:
    """Judges the states of streams. Raises `NatsAway`, `NatsRefused`."""

    def __init__(self, link: NatsLink, marks: StreamMarks) -> None:
        self._link = link
        self._marks = marks
        self._vouching = Vouching(link, self._led_by)

    def vouches(self, stream: str, state: StreamState, epoch: str, leader: str) -> bool:
        """Whether this edge has found that the epoch continues under that leader."""
        return state.epoch == epoch and self._is_led(stream, Lineage.of(state.metadata), leader)

    def forget(self, stream: str) -> None:
        """The stream is not used any more."""
        self._vouching.forget(stream)

    def stop(self) -> None:
        """Stops recording leaders."""
        self._vouching.stop()

    def _is_led(self, stream: str, lineage: Lineage, leader: str) -> bool:
        return leader in lineage.leaders or self._vouching.has(stream, lineage.epoch, leader)

    async def judge(self, stream: str, state: StreamState, known: Known) -> StreamState:
        """Returns the state of a stream, with a new epoch if it is not, or may not be, the same log as before."""
        leader = state.leader or self._link.server_id
        lineage = Lineage.of(state.metadata)
        mark = known.mark
        watched = known.epoch == state.epoch
        reached = max(
            known.seen if watched else 0, mark.sequence if mark is not None and mark.epoch == state.epoch else 0
        )
        if state.last < reached:
            return await self._void(stream, state, leader, f"fell back from {reached} to {state.last}")
        if mark is not None and state.epoch in mark.past:
            return await self._void(stream, state, leader, "is a copy from an earlier epoch")
        led = self._is_led(stream, lineage, leader)
        if led and watched and not known.doubted:
            return state
        same = await self._is_same(stream, state, mark)
        if same is None and watched and not known.doubted and _goes_on(state, known):
            same = True
        if same is False:
            return await self._void(stream, state, leader, "has another message where it was marked")
        if same is None and (known.doubted or (watched and not led)):
            return await self._void(stream, state, leader, "has lost the marked message, and may be another log")
        if led:
            return state
        if not watched and not _comparable(lineage, leader):
            return await self._led_by(stream, state, leader)
        if watched or await self._vouching.ask(stream, state.epoch, leader):
            self._vouching.vouch(stream, state, leader)
            return state
        log.warning(
            "stream %s may be an older copy: NATS was started, or has another leader for it, while no edge was running "
            "that could tell. So its epoch ends at %d: positions up to there stay valid",
            stream,
            state.last,
        )
        with_index = await self._index_goes_on(stream, lineage)
        return await self._change(
            stream, state, lambda now, last: now.ended(last, leader, with_index=with_index), leader
        )

    async def _index_goes_on(self, stream: str, lineage: Lineage) -> bool:
        """Whether the index matches the log as it is. An index that is ahead has read messages that the log has lost
        since."""
        try:
            newest = await last_followed(self._link, subjects.index_of(stream, lineage.indexed_since))
        except NobodyAnswers:
            return False
        state = await stream_state(self._link, stream)  # read after the index, as a publish may advance both meanwhile
        return newest is not None and state is not None and newest.sequence <= state.last

    async def _is_same(self, stream: str, state: StreamState, mark: Mark | None) -> bool | None:
        """Whether the marked message is still there; None if there is no message at its sequence."""
        if mark is None or mark.epoch != state.epoch or not mark.at:
            return True
        if mark.timed < state.last:
            at = await stored_at(self._link, stream, mark.timed)
            return None if at is None else at == mark.at
        return state.first > state.last or state.last_at == mark.at

    async def _void(self, stream: str, state: StreamState, leader: str, why: str) -> StreamState:
        log.error("stream %s %s: a new epoch begins, and no earlier position is valid", stream, why)
        return await self._change(stream, state, lambda now, _: now.void(leader))

    async def _led_by(self, stream: str, state: StreamState, leader: str) -> StreamState:
        return await self._change(stream, state, lambda now, _: now.led_by(leader), leader)

    async def _change(
        self, stream: str, state: StreamState, change: Callable[[Lineage, int], Lineage], unless_led_by: str = ""
    ) -> StreamState:
        def decide(found: StreamState) -> dict[str, str] | None:
            now = Lineage.of(found.metadata)
            if now.epoch != state.epoch or unless_led_by in now.leaders:
                return None  # another edge was faster
            return change(now, found.last).metadata

        lock = Lock(subjects.MARKS_STREAM, subjects.metadata_lock(stream))
        changed = await change_metadata(self._link, stream, decide, lock)
        if changed.epoch != state.epoch:
            self._marks.set(stream, changed.epoch, changed.last)  # so that all edges check the stream at once
        return changed


def _goes_on(state: StreamState, known: Known) -> bool:
    """Whether a stream that has everything this edge knows of is the same, although the marked message is not there to
    compare: it was removed, or newer messages of its channel have pushed it out."""
    if state.replicas >= _MANY:
        return True
    # Nothing was stored since the connection was lost, and until then there was only one log: this is all of it.
    return bool(state.last_at) and seconds_of(state.last_at) <= known.connected_until


def _comparable(lineage: Lineage, leader: str) -> bool:
    """Whether the leader can be compared with the recorded ones. It cannot for a stream that is older than the records,
    nor for one that has become part of a cluster."""
    return any(("@" in each) == ("@" in leader) for each in lineage.leaders)
