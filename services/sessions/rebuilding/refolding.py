"""Folds the log once more, with the service's own store, up to a position: from its beginning, or on from where it
is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from services.sessions.commits import Step, commit_portion
from services.sessions.log_archive_postgres import ArchivedEpoch
from services.sessions.log_nats import LogState
from services.sessions.read_ahead import ReadAhead
from services.sessions.rebuilding.gaps import Gaps
from services.sessions.rebuilding.log_reading import Archive, LogReading, Stream
from services.sessions.rebuilding.reach import Reach, StreamReach, reach_of
from services.sessions.store import ORIGIN, Position, Store


class LogChanged(Exception):
    """The log was recreated meanwhile: what was folded does not lead to the live position."""


class EpochArchive(Archive, Protocol):
    """The part of `LogArchive` that is needed here."""

    async def epochs(self) -> list[ArchivedEpoch]:
        """What is archived, the oldest epoch first."""


class StatedStream(Stream, Protocol):
    """The part of `log_nats.SessionLog` that is needed here."""

    async def found(self) -> tuple[LogState, int] | None:
        """The log, and when its first message was stored, in Unix milliseconds; None if there is no stream."""


Letters = Mapping[tuple[str, int], int]
"""As `swap_postgres.Live.letters` has them."""


class Refolding:
    """`store` is empty at first; the log is folded into it up to `position`. `told` is called with the number of
    messages and facts of each step.

    Every method raises `StoreAway`, `LogAway`, `LogNewer` and `LetterWaits`.
    """

    def __init__(
        self,
        store: Store,
        archive: EpochArchive,
        stream: StatedStream,
        letters: Callable[[], Awaitable[Letters]],
        told: Callable[[int, int], None],
    ) -> None:
        self._store = store
        self._archive = archive
        self._stream = stream
        self._letters = letters
        self._told = told
        self.position = ORIGIN
        self.gaps = Gaps()
        self.left_out: set[tuple[str, int]] = set()
        """Messages whose facts were left out, as they were dead letters."""

    async def reach(self, target: Position) -> Reach:
        """The messages to fold up to `target`."""
        return reach_of(await self._archive.epochs(), await self._stream_reach(), target)

    async def to(self, target: Position, goes_on: Callable[[], bool] = lambda: True) -> bool:
        """Folds on up to `target`, the position of the live tables, as long as `goes_on`. Whether it reached `target`.

        Raises `LogChanged`.
        """
        if self.position == target:
            return True
        letters = await self._letters()
        stream = await self._stream_reach()
        if self.position == ORIGIN:
            archived: Sequence[ArchivedEpoch] = await self._archive.epochs()
            epochs = reach_of(archived, stream, target).epochs
        elif self.position.epoch == target.epoch and self.position.sequence <= target.sequence:
            epochs = (target,)
        else:
            raise LogChanged(f"the live tables went from {self.position} to {target}: the log was recreated; try again")
        for end in epochs:
            if self.position.epoch != end.epoch:
                await self._move(Position(end.epoch, 0))
            there = stream is not None and stream.epoch == end.epoch
            await self._fold(end, stream.first if there and stream is not None else None, letters, goes_on)
            if self.position != end:
                return False
        return True

    async def _fold(self, end: Position, begins: int | None, letters: Letters, goes_on: Callable[[], bool]) -> None:
        """Folds the rest of an epoch, or some of it. `begins`: the first message in the stream; None: the stream has
        another epoch now."""
        set_aside = {sequence: size for (epoch, sequence), size in letters.items() if epoch == end.epoch}
        stream = None if begins is None else self._stream
        ahead = ReadAhead(LogReading(self._archive, stream, end.epoch, end.sequence, set_aside), asyncio.Event())
        try:
            await self._fold_what_comes(ahead, end, goes_on, begins, set_aside)
        finally:
            await ahead.close()
        still = None if stream is None else await self._stream_reach()
        if stream is not None and (still is None or still.epoch != end.epoch):
            raise LogChanged("the log was recreated while it was read: try again")

    async def _fold_what_comes(
        self,
        ahead: ReadAhead,
        end: Position,
        goes_on: Callable[[], bool],
        begins: int | None,
        set_aside: Mapping[int, int],
    ) -> None:
        while self.position.sequence < end.sequence:
            page = await ahead.read(self.position.sequence + 1)
            for portion in page.portions:
                await commit_portion(self._store, self.position, portion, self._took)
                self.gaps.saw(portion.entries, begins)
                self.left_out |= {
                    (end.epoch, entry.sequence) for entry in portion.entries if entry.sequence in set_aside
                }
                if not goes_on():
                    return

    async def _move(self, to: Position) -> None:
        await self._store.commit(self.position, to, [])
        self.position = to
        self.gaps.begin()

    def _took(self, step: Step) -> None:
        messages = step.position.sequence - self.position.sequence
        self.position = step.position
        self._told(messages, step.outcome.events)

    async def _stream_reach(self) -> StreamReach | None:
        found = await self._stream.found()
        return None if found is None else StreamReach(found[0].epoch, found[0].first, found[0].last, found[1])
