"""Requests to the other edges over NATS, on `ctl.edge.<instance>`.

The NATS connection of a killed process is gone with it, so NATS itself answers "no responders" within milliseconds. An
edge that cannot answer (it failed, or has too many requests) replies with the header `Fairlead-Part: failed`.

An answer that is too large for one message comes in parts: each but the last has the header `Fairlead-Part: more`, and
the last has the number of parts in `Fairlead-Part`, so that a lost part is noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from msgspec import DecodeError

from proto import subjects
from proto.control import (
    ControlAnswer,
    ControlRequest,
    Done,
    Probe,
    Unknown,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from proto.trace_context import TraceContext, sampled_in, with_context
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, NobodyAnswers, header, header_block
from services.chassis.process.tasks import Tasks
from services.chassis.tracing.span import active_context
from services.edge.cluster.failure_detector_nats import FailureDetector
from services.edge.cluster.peers import ASK_TIMEOUT_S, PeerGone, PeersAway, Responder, merge, parts

log = logging.getLogger(__name__)

MAX_ANSWERING: Final = 1000
"""Requests that are being answered at once. Further ones are answered "failed"; a probe is always answered."""
MAX_ASKING: Final = 4096
"""Requests that may wait for an answer at once; a request to all edges counts once for each."""
PART_ENTRIES: Final = 1000
"""Members in one message: some milliseconds of work between two turns of the loop."""
PART_BYTES: Final = 256 * 1024
"""A quarter of the largest message that NATS takes by default."""
_RETURN_RETRY_S: Final = 0.05
_IMPATIENT_S: Final = 0.15
"""A silent edge is probed after this time: an edge that is only slow answers the probe, and is waited for."""

_PART: Final = b"Fairlead-Part"
_MORE: Final = header_block(Fairlead_Part="more")
_FAILED: Final = header_block(Fairlead_Part="failed")


class NatsPeers:
    """See `peers.Peers`."""

    def __init__(self, link: NatsLink, failure_detector: FailureDetector) -> None:
        self._link = link
        self._failure_detector = failure_detector
        self._cluster = failure_detector.cluster
        self._responder: Responder | None = None
        self._subscription: int | None = None
        self._asking: defaultdict[str, set[asyncio.Task[ControlAnswer]]] = defaultdict(set)
        self._answering = Tasks()
        self.asking = 0
        self.refused = 0  # requests beyond MAX_ANSWERING, since start
        self._cluster.listen(self)

    @property
    def instance(self) -> str:
        return self._cluster.own

    @property
    def answering(self) -> int:
        """Requests that are being answered now."""
        return len(self._answering)

    async def start(self, responder: Responder) -> None:
        """Answers from now on. The failure detector starts afterwards, so that no edge is found that cannot answer."""
        self._responder = responder
        self._subscription = self._link.subscribe(subjects.edge_control(self.instance), self._hear)

    def stop(self) -> None:
        """Stops answering, and cancels answers that are in progress."""
        if self._subscription is not None:
            self._link.unsubscribe(self._subscription)
        self._answering.cancel()

    # --- asking ------------------------------------------------------------------------------------------------------

    async def ask(self, instance: str, request: ControlRequest, timeout_s: float = ASK_TIMEOUT_S) -> ControlAnswer:
        if instance == self.instance:
            return await self._respond(request, active_context())
        task = self._begin(instance, request, timeout_s)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
        return _outcome(task)

    async def ask_all(self, request: ControlRequest, timeout_s: float = ASK_TIMEOUT_S) -> list[ControlAnswer]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        if not self._link.is_connected:
            raise PeersAway("NATS is unavailable")
        try:
            async with asyncio.timeout_at(deadline):
                await self._failure_detector.assembled()
        except TimeoutError:
            raise PeersAway("the other edges are not known yet") from None
        tasks: list[asyncio.Task[ControlAnswer]] = []
        try:
            for instance in self._cluster.instances():
                tasks.append(self._begin(instance, request, deadline - loop.time()))
            answers = [await self._respond(request, active_context())]
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
        for task in tasks:
            with contextlib.suppress(PeerGone):
                answers.append(_outcome(task))
        return answers

    def _begin(self, instance: str, request: ControlRequest, timeout_s: float) -> asyncio.Task[ControlAnswer]:
        """Asks in a task, so that `edge_lost` can end the waiting."""
        if self.asking >= MAX_ASKING:
            raise PeersAway("too many questions wait for an answer")
        task = asyncio.get_running_loop().create_task(self._ask(instance, request, timeout_s))
        self.asking += 1
        self._asking[instance].add(task)
        task.add_done_callback(functools.partial(self._end, instance))
        return task

    def _end(self, instance: str, task: asyncio.Task[ControlAnswer]) -> None:
        self.asking -= 1
        self._asking[instance].discard(task)
        if not self._asking[instance]:
            del self._asking[instance]
        if not task.cancelled():
            task.exception()  # marks it as retrieved, in case no caller waits any more

    def edge_found(self, instance: str) -> None:
        pass

    def edge_returned(self, instance: str) -> None:
        pass

    def edge_lost(self, instance: str) -> None:
        for task in self._asking.get(instance, ()):
            task.cancel()

    async def _ask(self, instance: str, request: ControlRequest, timeout_s: float) -> ControlAnswer:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        subject, question, cause = subjects.edge_control(instance), encode_request(request), active_context()
        headers = None if cause is None else with_context(None, cause)
        # An edge that is killed with a request on its way never answers it: the probe finds out.
        doubt = loop.call_later(_IMPATIENT_S, self._cluster.suspect, instance)
        while True:
            try:
                replies = await self._link.request_many(subject, question, _is_last, headers, deadline - loop.time())
                break
            except NobodyAnswers:
                if not self._failure_detector.others_return():
                    self._cluster.suspect(instance)
                    raise PeerGone(f"edge {instance} is gone") from None
                if loop.time() + _RETURN_RETRY_S > deadline:
                    raise PeersAway(f"edge {instance} is not back at NATS") from None
                await asyncio.sleep(_RETURN_RETRY_S)
            except (NatsAway, NatsRefused) as error:
                raise PeersAway(f"edge {instance}: {error}") from None
            finally:
                doubt.cancel()
        self._cluster.alive(instance)
        mark = header(replies[-1][0], _PART)
        if mark == b"failed":
            raise PeersAway(f"edge {instance} cannot answer now")
        try:
            if int(mark or 1) != len(replies):
                raise ValueError("parts are missing")
            return await _read(data for _, data in replies)
        except (DecodeError, ValueError) as error:
            raise PeersAway(f"edge {instance} sent an unusable answer: {error}") from None

    # --- answering ---------------------------------------------------------------------------------------------------

    def _hear(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        if not reply:
            return
        try:
            request = decode_request(data)
        except DecodeError as error:
            log.debug("unknown request of another edge: %s", error)
            self._say(reply, encode_answer(Unknown()))
            return
        if isinstance(request, Probe):
            self._say(reply, encode_answer(Done()))
        elif len(self._answering) >= MAX_ANSWERING:
            self.refused += 1
            self._say(reply, b"", _FAILED)
        else:
            self._answering.start(self._answer(request, reply, sampled_in(headers)))

    async def _answer(self, request: ControlRequest, reply: bytes, cause: TraceContext | None) -> None:
        to = reply.decode()
        try:
            messages = _messages(
                await self._respond(request, cause), PART_ENTRIES, min(PART_BYTES, self._link.max_payload)
            )
            message = next(messages)
            count = 1
            for following in messages:
                self._link.publish(to, message, _MORE)
                await self._link.flush()  # not faster than NATS takes the parts, and not all in one turn of the loop
                message, count = following, count + 1
            self._link.publish(to, message, None if count == 1 else header_block(Fairlead_Part=str(count)))
        except NatsAway as error:
            log.debug("an answer was not sent: %s", error)
        except Exception:
            log.exception("the request %s of another edge failed", type(request).__name__)
            self._say(reply, b"", _FAILED)

    async def _respond(self, request: ControlRequest, cause: TraceContext | None) -> ControlAnswer:
        assert self._responder is not None, "a question before start()"
        if isinstance(request, Probe):
            return Done()
        answer = self._responder(request, cause)
        return await answer if inspect.isawaitable(answer) else answer

    def _say(self, reply: bytes, data: bytes, headers: bytes | None = None) -> None:
        with contextlib.suppress(NatsAway):  # the other edge gets "no responders" from NATS, or its request times out
            self._link.publish(reply.decode(), data, headers)


def _outcome(task: asyncio.Task[ControlAnswer]) -> ControlAnswer:
    if task.cancelled():
        raise PeerGone("the edge was lost while it was asked")
    return task.result()


def _is_last(headers: bytes | None) -> bool:
    return header(headers, _PART) != b"more"


def _messages(answer: ControlAnswer, entries: int, most_bytes: int) -> Iterator[bytes]:
    """The answer in messages of at most `entries` entries and `most_bytes` bytes, unless one entry alone is larger."""
    for piece in parts(answer, entries):
        message = encode_answer(piece)
        if len(message) <= most_bytes or entries == 1:
            yield message
        else:
            yield from _messages(piece, max(1, entries // 2), most_bytes)


async def _read(messages: Iterator[bytes]) -> ControlAnswer:
    """Decodes one message in each turn of the loop."""
    pieces = [decode_answer(next(messages))]
    for message in messages:
        await asyncio.sleep(0)
        pieces.append(decode_answer(message))
    return merge(pieces)
