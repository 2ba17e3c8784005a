"""The server API, whichever way a call comes in: `ApiMethods.call(method, body)`.

A call takes JSON, and returns a struct or raises `Rejected`. It ends within `CALL_DEADLINE_S`, whatever the cluster
does: a call that is not done by then gets error 100; in a batch or broadcast, each command by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from proto import codes
from proto.codec import payload
from proto.json_decoder import JsonDecoder
from proto.nesting import TooDeep
from proto.trace_context import TraceContext
from services.chassis.process.log_fields import about
from services.chassis.tracing.span import SERVER, Tracer, active
from services.edge.backend.backend import BackendAway, BackendDisconnect, BackendError, BadAnswer, Caller
from services.edge.backend.backends import Backends
from services.edge.broker.broker import BrokerAway, BrokerRefused
from services.edge.cluster.cluster import Cluster
from services.edge.cluster.peers import PeersAway
from services.edge.rejection import Rejected, check_nesting
from services.edge.server_api.answers import (
    METHODS,
    NOT_OFFERED,
    BadCall,
    BatchAnswer,
    BroadcastAnswer,
    InfoAnswer,
    NodeAnswer,
    ProcessAnswer,
    PublishReply,
    RpcAnswer,
    UnknownMethod,
    problem,
)
from services.edge.server_api.call_counts import CallCounts
from services.edge.server_api.call_failures import CallFailures, Origin
from services.edge.server_api.calls import (
    MAX_CHANNELS,
    MAX_COMMANDS,
    BatchCall,
    BroadcastCall,
    InfoCall,
    PublishCall,
    RpcCall,
)
from services.edge.server_api.channel_methods import ChannelMethods, prepare
from services.edge.server_api.user_methods import UserMethods
from services.edge.tally import Tally

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

MAX_BODY_BYTES: Final = 768 * 1024
"""Below NATS's default payload limit of 1 MiB, with room for headers."""
MAX_CALLS: Final = 1000
"""Calls in progress at once; further ones get error 111. So many pile up only when the cluster hangs."""
AT_ONCE: Final = 64
"""Commands of one batch, or channels of one broadcast, that are in progress at once."""
CALL_DEADLINE_S: Final = 9.0
"""Below the 10 s after which API clients give up."""

_NULL: Final = Raw(b"null")
_CALLER: Final = Caller(transport="api")

Handler = Callable[[Any], Awaitable[Struct]]


class ApiMethods:
    """All methods, with the bounds on calls in progress. `failures` logs calls that fail."""

    def __init__(
        self,
        channels: ChannelMethods,
        users: UserMethods,
        cluster: Cluster,
        backends: Backends,
        rpc_timeout_s: float,
        failures: CallFailures,
        tally: Tally,
        tracer: Tracer | None = None,
    ) -> None:
        self._channels = channels
        self._cluster = cluster
        self._backends = backends
        self._rpc_timeout_s = rpc_timeout_s
        self.failures = failures
        self._tally = tally
        self.counts = CallCounts(tally)
        self._tracer = tracer
        self._decoders: dict[str, JsonDecoder[Struct]] = {
            name: JsonDecoder(method.call) for name, method in METHODS.items()
        }
        self._handlers: dict[str, Handler] = {
            "publish": self._publish,
            "subscribe": users.subscribe,
            "unsubscribe": users.unsubscribe,
            "disconnect": users.disconnect,
            "refresh": users.refresh,
            "send": users.send,
            "presence": channels.presence,
            "presence_stats": channels.presence_stats,
            "history": channels.history,
            "history_remove": channels.history_remove,
            "channels": channels.channels,
            "info": self._info,
            "rpc": self._rpc,
        }
        self.in_progress = 0

    async def call(self, method: str, body: bytes, origin: Origin, cause: TraceContext | None = None) -> Struct:
        """The answer of a method (see `answers.METHODS`) to this body. Raises `Rejected`, and logs that.

        `cause` is the trace context of the call. A call without one is traced if it is sampled here.
        """
        tracer = self._tracer
        if tracer is not None and (tracer.samples() if cause is None else cause.sampled):
            name = method if method in METHODS else "unknown"
            span = tracer.begin(f"api {name}", SERVER, cause, {"rpc.system": "fairlead", "rpc.method": name})
            with active(span):
                return await self._logged(method, body, origin)
        return await self._logged(method, body, origin)

    async def _logged(self, method: str, body: bytes, origin: Origin) -> Struct:
        try:
            with self.counts.call(method):
                return await self._call(method, body, origin)
        except Rejected as rejection:
            self.failures.failed(method, rejection, origin, body)
            raise

    async def _call(self, method: str, body: bytes, origin: Origin) -> Struct:
        if self.in_progress >= MAX_CALLS:
            self._tally.api_turned_away += 1
            raise Rejected(codes.TOO_MANY_REQUESTS)
        deadline = asyncio.get_running_loop().time() + CALL_DEADLINE_S
        self.in_progress += 1
        try:
            if method == "broadcast":
                return await self._broadcast(self._decode(method, body), deadline, origin)
            if method == "batch":
                return await self._batch(self._decode(method, body), deadline, origin)
            return await self._perform(method, body, deadline)
        finally:
            self.in_progress -= 1

    async def _perform(self, method: str, body: bytes, deadline: float) -> Struct:
        handler = self._handlers.get(method)
        if handler is None:
            if method in NOT_OFFERED:
                raise Rejected(codes.NOT_AVAILABLE, f"{method} is not offered")
            raise UnknownMethod(codes.METHOD_NOT_FOUND, f"expected one of {', '.join(METHODS)}")
        return await self._finish(handler(self._decode(method, body)), deadline, method)

    def _decode(self, method: str, body: bytes) -> Any:
        try:
            return self._decoders[method].decode(body or b"{}")
        except msgspec.DecodeError as error:
            raise BadCall(codes.BAD_REQUEST, str(error)) from None

    async def _finish(self, work: Awaitable[T], deadline: float, method: str) -> T:
        """The result of `work`, which is the work of a method. Raises `Rejected` for any failure."""
        now = asyncio.get_running_loop().time
        began = now()
        try:
            async with asyncio.timeout_at(deadline):
                return await work
        except (BrokerAway, BrokerRefused, PeersAway, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                self._count_cut_off(method, now() - began)
            raise Rejected(codes.INTERNAL, hint=str(error) or "it took too long") from None
        except Rejected:
            raise
        except Exception:
            log.exception("a call of the server API failed", extra=about(method=method))
            raise Rejected(codes.INTERNAL, hint="a fault of this edge, logged with its traceback") from None

    def _count_cut_off(self, method: str, after_s: float) -> None:
        """Counts as failed a method that the deadline has ended."""
        if method == "publish":
            self._tally.publish_failed("timeout")
        elif method == "rpc":
            # The RPC's method is not known here: it counts for the backend of methods without a namespace.
            self._tally.question_cut_off(self._backends.of_method(""), "rpc", after_s)

    # --- several in one ----------------------------------------------------------------------------------------------

    async def _broadcast(self, call: BroadcastCall, deadline: float, origin: Origin) -> BroadcastAnswer:
        if not 0 < len(call.channels) <= MAX_CHANNELS:
            raise Rejected(codes.BAD_REQUEST, f"expected 1 to {MAX_CHANNELS} channels")
        what = prepare(call)
        self._channels.check_data(what, call.channels)

        async def publish(channel: str) -> PublishReply:
            try:
                work = self._channels.publish(channel, what)
                return PublishReply(result=await self._finish(work, deadline, "publish"))
            except Rejected as rejection:
                self.failures.failed("broadcast", rejection, origin, channel=channel)
                return PublishReply(error=problem(rejection))

        return BroadcastAnswer(await _each(call.channels, publish, AT_ONCE))

    async def _batch(self, call: BatchCall, deadline: float, origin: Origin) -> BatchAnswer:
        if len(call.commands) > MAX_COMMANDS:
            raise Rejected(codes.BAD_REQUEST, f"expected at most {MAX_COMMANDS} commands")

        async def perform(command: dict[str, Raw]) -> dict[str, Any]:
            given = [name for name, body in command.items() if bytes(body) != b"null"]
            method, body = "batch", b""
            try:
                if len(given) != 1:
                    raise Rejected(codes.BAD_REQUEST, "expected one method in each command")
                (method,) = given
                body = bytes(command[method])
                with self.counts.call(method):
                    if method == "broadcast":
                        return {method: await self._broadcast(self._decode(method, body), deadline, origin)}
                    return {method: await self._perform(method, body, deadline)}
            except Rejected as rejection:
                self.failures.failed(method, rejection, origin, body)
                return {"error": problem(rejection)}

        return BatchAnswer(await _each(call.commands, perform, AT_ONCE if call.parallel else 1))

    # --- other methods -----------------------------------------------------------------------------------------------

    async def _publish(self, call: PublishCall) -> Struct:
        return await self._channels.publish(call.channel, prepare(call), call.key_age)

    async def _info(self, call: InfoCall) -> InfoAnswer:
        return InfoAnswer(
            [
                NodeAnswer(
                    uid=beat.instance,
                    name=beat.name,
                    version=beat.version,
                    num_clients=beat.edge.connections,
                    num_users=beat.edge.users,
                    num_channels=beat.edge.channels,
                    num_subs=beat.edge.subscriptions,
                    uptime=int(beat.process.uptime_s),
                    process=ProcessAnswer(beat.process.rss_bytes),
                )
                for beat in self._cluster.edges()
                if beat.edge is not None
            ]
        )

    async def _rpc(self, call: RpcCall) -> RpcAnswer:
        check_nesting(call.params)
        asked = f" (asked: {self._backends.of_method(call.method)})"
        try:
            answer = await self._backends.call(call.method, bytes(call.params), _CALLER, self._rpc_timeout_s)
            return RpcAnswer(payload(answer) if answer else _NULL)
        except BackendError as error:
            raise Rejected(error.error) from None
        except BackendDisconnect:
            raise Rejected(codes.INTERNAL, hint="the backend answered with a disconnect, but no client asks") from None
        except (BadAnswer, ValueError) as error:
            if not isinstance(error, BadAnswer):  # a `BadAnswer` is counted already
                self._tally.backend_failed(self._backends.of_method(call.method), "rpc", "bad_answer")
            if isinstance(error, TooDeep):
                raise Rejected(codes.BAD_REQUEST, str(error)) from None
            raise Rejected(codes.INTERNAL, hint=f"a backend's answer is unusable{asked}: {error}") from None
        except BackendAway as error:
            if error.no_responders:
                raise Rejected(codes.NOT_AVAILABLE, "no backend answers this method") from None
            raise Rejected(codes.INTERNAL, hint=f"no backend answered in time{asked}: {error}") from None


async def _each(items: Sequence[T], do: Callable[[T], Awaitable[R]], at_once: int) -> list[R]:
    """The results of `do` for all items, in their order. `do` must not raise."""
    results: list[Any] = [None] * len(items)
    left = iter(enumerate(items))

    async def work() -> None:
        for place, item in left:
            results[place] = await do(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(items))):
            group.create_task(work())
    return results
