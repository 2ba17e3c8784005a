"""Which streams can be used now. One that does not answer, or does not store, is shut until a check succeeds.

A stream that is shut gets no requests, and its live messages are ignored: its channels get the temporary error at once,
instead of one timeout for each request, and no other channel waits behind them. A task checks the stream until it can
be used, immediately when NATS says that it has a leader again (the next leader does not answer earlier requests, so a
check in progress begins anew); then the stream is opened, without a reconnect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, NobodyAnswers, NotPermitted
from services.chassis.nats.stream_making import JETSTREAM_OFF
from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import FailureCause
from services.edge.broker.silent_streams_nats import SilentStreams
from services.edge.broker.stream_news import StreamNews, named

log = logging.getLogger(__name__)

CHECK_AGAIN_S: Final = 0.5
"""How often a stream that is shut is checked."""
_REFUSED_AGAIN_S: Final = 10.0
"""The longest interval for a stream that NATS refuses, which is checked less and less often."""
_SOON_S: Final = 0.1
"""The wait for one more check after NATS has said that a stream has a leader, which may not answer at once."""
CHECK_TIMEOUT_S: Final = 2.0
"""A healthy stream answers within milliseconds. A request to a stream without a leader is never answered."""

_CHECK_LIMIT_S: Final = 20.0
"""The limit of a whole check, in which several edges may take turns to change a stream's metadata."""

Check = Callable[[str, bool], Coroutine[Any, Any, None]]


class DoesNotStore(Exception):
    """The stream answers, but has not stored a message: `error` says why."""

    def __init__(self, error: NatsAway | NatsRefused) -> None:
        super().__init__(str(error))
        self.error = error


class Shut(NamedTuple):
    """Why a stream is shut. `stores` is false if it answers, but does not store. `to_store`: it is opened only once it
    has stored something."""

    cause: FailureCause
    why: str
    stores: bool = True
    to_store: bool = False


class StreamGates:
    """`check(stream, storing)` raises `NatsAway` or `NatsRefused` unless a stream can be used, and, with `storing`,
    `DoesNotStore` unless it stores. `on_shut(stream)` and `on_open(stream)` are called when a stream is shut or
    opened."""

    def __init__(
        self, link: NatsLink, check: Check, on_shut: Callable[[str], None], on_open: Callable[[str], None]
    ) -> None:
        self._link = link
        self._check = check
        self._on_shut = on_shut
        self._on_open = on_open
        self._shut: dict[str, Shut] = {}
        self._pokes: dict[str, asyncio.Event] = {}
        self._suspected: set[str] = set()
        self._checking: set[str] = set()
        self._opened: Counter[str] = Counter()
        self._silent = SilentStreams(link)
        self._tasks = Tasks()
        self.news = StreamNews(self._tasks)

    def of(self, stream: str) -> Shut | None:
        """Why a stream is shut; None if it is not."""
        return self._shut.get(stream)

    def opened(self, stream: str) -> int:
        """How often a stream was opened."""
        return self._opened[stream]

    @property
    def any_shut(self) -> bool:
        """Whether a stream is shut."""
        return bool(self._shut)

    def doubts(self, stream: str) -> bool:
        """Whether a stream is shut, or is being checked whether it stores: it gets little time to answer."""
        return stream in self._shut or stream in self._suspected

    def counts(self) -> Counter[tuple[str, str]]:
        """How many streams are shut, by namespace and kind (see `kind_of`)."""
        return Counter((subjects.class_of_stream(stream), kind_of(stream)) for stream in self._shut)

    @property
    def not_storing(self) -> int:
        """How many of the shut streams answer, but do not store."""
        return sum(not shut.stores for shut in self._shut.values())

    def remark(self) -> str | None:
        """Which streams are shut, and why, in a line; None if none is."""
        by_why: dict[str, list[str]] = {}
        for stream, shut in self._shut.items():
            by_why.setdefault(shut.why, []).append(stream)
        return "; ".join(f"{named(streams)}: {why}" for why, streams in by_why.items()) or None

    def stored(self, stream: str) -> None:
        """The stream has acknowledged a publish."""
        self._silent.stored(stream)

    def unstored(self, stream: str) -> FailureCause:
        """A publish was not acknowledged in time: finds out whether the stream stores. Returns why, as far as known."""
        if stream not in self._suspected and stream not in self._shut and self._link.is_connected:
            self._suspected.add(stream)
            self._tasks.start(self._find_out(stream))
        return self._silent.why(stream)

    async def _find_out(self, stream: str) -> None:
        try:
            error = await self._checked(stream, storing=True)
        finally:
            self._suspected.discard(stream)
        if error is not None:
            self._shut_by(stream, error, to_store=True)

    def _shut_by(self, stream: str, error: NatsAway | NatsRefused | DoesNotStore, *, to_store: bool) -> None:
        if isinstance(error, DoesNotStore):
            self.shut(stream, error.error, stores=False)
        else:
            self.shut(stream, error, to_store=to_store)

    def shut(self, stream: str, error: NatsAway | NatsRefused, *, stores: bool = True, to_store: bool = False) -> None:
        """Shuts a stream, and checks it until it can be used. Nothing is shut while there is no connection."""
        if not self._link.is_connected:
            return
        known = self._shut.get(stream)
        cause = error.cause
        if not stores and cause == "timeout":
            cause = self._silent.why(stream)
        to_store = to_store or not stores or (known is not None and known.to_store)
        self._shut[stream] = shut = Shut(cause, _reason(stream, error, cause, stores), stores, to_store)
        self.news.shut(stream, shut.why)
        if known is None:
            self._pokes[stream] = asyncio.Event()
            self._on_shut(stream)
            self._tasks.start(self._reopen(stream, self._pokes[stream]))

    def open(self, stream: str) -> None:
        """A check of this stream has succeeded: opens it. If it must first store something, it is checked for that."""
        shut = self._shut.get(stream)
        if shut is None:
            return
        if not shut.to_store:
            self._open(stream)
        elif stream not in self._checking:  # otherwise this may be part of the check
            self.poke(stream)

    def _open(self, stream: str) -> None:
        del self._shut[stream]
        self._opened[stream] += 1
        self._pokes.pop(stream).set()
        self.news.opened(stream)
        self._on_open(stream)

    def forget(self, stream: str) -> None:
        """Nobody uses this stream any more."""
        if self._shut.pop(stream, None) is not None:
            self._pokes.pop(stream).set()
            self.news.opened(stream)

    def poke(self, stream: str) -> None:
        """Checks a shut stream immediately. A check in progress begins anew."""
        if stream in self._pokes:
            self._pokes[stream].set()

    async def _reopen(self, stream: str, poke: asyncio.Event) -> None:
        wait_s = CHECK_AGAIN_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await poke.wait()
            if self._pokes.get(stream) is not poke:  # it was opened meanwhile
                return
            poked = poke.is_set()
            poke.clear()
            to_store = self._shut[stream].to_store
            check = self._tasks.start(self._checked(stream, storing=to_store))
            self._checking.add(stream)
            try:
                await _either(check, poke)
            finally:
                self._checking.discard(stream)
            if self._pokes.get(stream) is not poke:
                return
            if not check.done():  # it was poked
                check.cancel()
                continue
            error = check.result()
            if error is None:
                self._open(stream)
                return
            refused = isinstance(error.error if isinstance(error, DoesNotStore) else error, NatsRefused | NotPermitted)
            wait_s = min(2 * wait_s, _REFUSED_AGAIN_S) if refused else _SOON_S if poked else CHECK_AGAIN_S
            self._shut_by(stream, error, to_store=to_store)

    async def _checked(self, stream: str, *, storing: bool) -> NatsAway | NatsRefused | DoesNotStore | None:
        """Why the stream cannot be used; None if it can."""
        try:
            async with asyncio.timeout(_CHECK_LIMIT_S):
                await self._check(stream, storing)
        except TimeoutError:
            return NatsAway(f"no answer within {_CHECK_LIMIT_S:g} s", "timeout")
        except (NatsAway, NatsRefused, DoesNotStore) as error:
            return error
        return None

    def stop(self) -> None:
        """Cancels all checks."""
        self._tasks.cancel()
        self._silent.stop()


async def _either(check: asyncio.Task[Any], poke: asyncio.Event) -> None:
    """Returns when the check is done, or somebody pokes."""
    poked = asyncio.ensure_future(poke.wait())
    try:
        await asyncio.wait((check, poked), return_when=asyncio.FIRST_COMPLETED)
    finally:
        poked.cancel()


def kind_of(stream: str) -> str:
    """What a stream holds: "history", "keys" (idempotency keys) or "marks"."""
    return {subjects.KEYS_STREAM: "keys", subjects.MARKS_STREAM: "marks"}.get(stream, "history")


_RESTART: Final = "if NATS's log has disk errors, restart NATS as well: it does not write again until then"


def _reason(stream: str, error: NatsAway | NatsRefused, cause: FailureCause, stores: bool) -> str:
    """The reason in words for the operator, the same words for all streams that have it."""
    if not stores and cause == "storage":
        return (
            f"JetStream does not store ({error}): max_file_store, the limit of the account or the disk is full. Make "
            f"room; {_RESTART}"
        )
    if not stores and cause == "timeout":
        return (
            "JetStream does not acknowledge publishes: the server that leads the stream is gone, or its disk is full, "
            f"fails or is slow. Make room; {_RESTART}"
        )
    if isinstance(error, NobodyAnswers):
        return f"nobody answers for JetStream: {JETSTREAM_OFF}"
    if isinstance(error, NotPermitted):
        return "NATS does not permit this edge all that it needs (the log names the subjects, see docs/nats.md)"
    if cause == "timeout":
        return "JetStream does not answer: the servers with the stream are away, or this edge has no permission to ask"
    return str(error).removeprefix(f"stream {stream}: ").removeprefix(f"the state of stream {stream}: ")
