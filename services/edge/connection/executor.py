"""Carries out actions, awaiting the cluster, a backend, or the keys of a token: action in, outcome out.

It does not know the connection, only a subscriber, which it attaches to channels. When it returns `Attached`, nothing
has been pushed to the subscriber yet; the caller applies the outcome in the same step, without an await.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol, assert_never

import msgspec
from msgspec import Raw, Struct

from proto import codes, subjects
from proto.messages import Publication, StreamPosition
from proto.replies import HistoryResult, PresenceResult, PresenceStatsResult, PublishResult, Result, RPCResult
from services.chassis.process.log_fields import about
from services.chassis.tracing.span import ACTIVE
from services.edge.backend.backend import BackendAway, BackendDisconnect, BackendError, BadAnswer, rpc_result
from services.edge.backend.backends import Backends
from services.edge.backend.hook_results import Disconnected
from services.edge.broker.broker import BrokerAway, BrokerRefused
from services.edge.channels.message_ids import of_backend, of_client
from services.edge.channels.node import Node
from services.edge.channels.subscriber import Subscriber
from services.edge.channels.subscription import AttachRequest
from services.edge.connection.clock import Clock
from services.edge.connection.hook_caller import HookCaller
from services.edge.connection.refusal_log import RefusalLog
from services.edge.rejection import Rejected
from services.edge.session.actions import (
    Action,
    AskHook,
    CallBackend,
    Connect,
    LookUpKey,
    Publish,
    ReadHistory,
    ReadPresence,
)
from services.edge.session.command_kinds import aim_behind
from services.edge.session.outcomes import (
    Attached,
    AttachedAll,
    Failed,
    HookAnswered,
    KeyLookedUp,
    Outcome,
    Replied,
)
from services.edge.session.results import REPLY_BYTES, fitting
from services.edge.tally import Tally
from services.edge.tokens.token_keys import KeySet

log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode

_RETRY_S: Final = 0.2


class KeyLookup(Protocol):
    """Looks up keys of tokens that the configuration does not contain."""

    async def wanted(self, kid: str, keys: KeySet) -> bool:
        """Looks up a key at the endpoint of `keys`. False if the keys could not be read: the key may be found later."""


class NoKeyLookup:
    """For an edge whose keys are all in its configuration."""

    async def wanted(self, kid: str, keys: KeySet) -> bool:
        return True


class _PublishAnswer(Struct, frozen=True):
    """The answer to the RPC `fairlead.publish`."""

    offset: int
    epoch: str


class Executor:
    """Carries out actions. `rpc_timeout_s` is how long a backend may take for an RPC."""

    def __init__(
        self,
        node: Node,
        backends: Backends,
        keys: KeyLookup,
        refusals: RefusalLog,
        clock: Clock,
        rpc_timeout_s: float,
        tally: Tally,
    ) -> None:
        self._node = node
        self._backends = backends
        self._hooks = HookCaller(backends, refusals, tally)
        self._keys = keys
        self._refusals = refusals
        self._clock = clock
        self._rpc_timeout_s = rpc_timeout_s
        self._tally = tally

    async def execute(self, action: Action, subscriber: Subscriber, deadline: float) -> Outcome:
        """Carries out `action` by `deadline`, and returns its outcome. Raises nothing but CancelledError."""
        began = self._clock.now()
        working = None if action.trace is None else ACTIVE.set(action.trace)
        try:
            async with asyncio.timeout(max(0.0, deadline - began)):
                return await self._execute(action, subscriber)
        except Rejected as rejection:
            return Failed(rejection.error, rejection.why)
        except BrokerRefused as error:  # a publication that is too large, for example: a retry would be refused too
            self._log_refused(action, error)
            return Failed(codes.LIMIT_EXCEEDED)
        except (BrokerAway, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                self._count_cut_off(action, self._clock.now() - began)
            log.debug("a command failed, and may be repeated: %s", error, extra=_about(action))
            return Failed(codes.INTERNAL)
        except Exception:
            log.exception("a command failed", extra=_about(action))
            return Failed(codes.INTERNAL)
        finally:
            if working is not None:
                ACTIVE.reset(working)

    async def _execute(self, action: Action, subscriber: Subscriber) -> Outcome:
        match action:
            case Publish():
                return Replied(await self._publish(action))
            case AttachRequest():
                return await self._attach(action, subscriber)
            case Connect():
                return await self._attach_all(action, subscriber)
            case ReadHistory():
                return Replied(await self._read_history(action))
            case ReadPresence(_, channel, count_only):
                return Replied(await self._read_presence(channel, count_only))
            case CallBackend():
                return await self._call_backend(action)
            case AskHook():
                return HookAnswered(await self._hooks.ask(action, self._clock.unix()))
            case LookUpKey(_, kid, keys):
                return KeyLookedUp(await self._keys.wanted(kid, keys))
            case unreachable:
                assert_never(unreachable)

    def _count_cut_off(self, action: Action, after_s: float) -> None:
        """Counts an action as failed that the deadline has ended."""
        if type(action) is Publish:
            self._tally.publish_failed("timeout")
        elif type(action) is CallBackend:
            self._tally.question_cut_off(self._backends.of_method(action.method), "rpc", after_s)
        elif type(action) is AskHook:
            self._tally.question_cut_off(action.backend, subjects.hook(action.event), after_s)

    def _log_refused(self, action: Action, error: BrokerRefused) -> None:
        if type(action) is Publish:
            self._refusals.write("the broker refused a client's publication", str(error), _about(action))
        else:
            self._refusals.write("the broker refused a client's command", str(error), _about(action))

    # --- channels ----------------------------------------------------------------------------------------------------

    async def _attach(self, request: AttachRequest, subscriber: Subscriber) -> Attached:
        while True:
            try:
                return await self._attach_once(request, subscriber)
            except BrokerAway:
                if request.command_id:
                    raise  # the client gets error 100, and tries again
                await asyncio.sleep(_RETRY_S)  # until the deadline: its backend already has the answer "done"

    async def _attach_all(self, action: Connect, subscriber: Subscriber) -> AttachedAll:
        attached: dict[str, Attached] = {}
        try:
            for request in action.requests:
                if subscriber.closed:
                    break
                attached[request.channel] = await self._attach_once(request, subscriber)
        except BaseException:
            for channel in attached:
                self._node.unsubscribe(subscriber, channel)
            raise
        return AttachedAll(attached)

    async def _attach_once(self, request: AttachRequest, subscriber: Subscriber) -> Attached:
        result, behind = await self._node.subscribe(subscriber, request)
        return Attached(result, self._node.position(request.channel), behind)

    async def _publish(self, action: Publish) -> Result:
        publication = Publication(data=action.data, info=action.info, tags=action.tags)
        message_id = ""
        if action.key:
            channel, key = action.channel, action.key
            message_id = of_backend(channel, key) if action.key_of_backend else of_client(channel, action.user, key)
        position = await self._node.publish(
            action.channel, action.rules, publication, message_id, action.version, action.skip_history
        )
        if not action.key:
            return PublishResult()
        at = position or StreamPosition()
        if action.as_rpc:
            return RPCResult(Raw(_encode(_PublishAnswer(at.offset, at.epoch))))
        return PublishResult(at.offset, at.epoch)

    async def _read_history(self, action: ReadHistory) -> HistoryResult:
        found = await self._node.history.read(
            action.channel, action.rules, action.limit, action.since, action.reverse, REPLY_BYTES
        )
        first, _ = fitting(found.publications)  # the next page continues after the last of these
        return HistoryResult(first, found.top.epoch, found.top.offset)

    async def _read_presence(self, channel: str, count_only: bool) -> PresenceResult | PresenceStatsResult:
        if count_only:
            return await self._node.presence.stats(channel)
        return PresenceResult(await self._node.presence.members(channel))

    # --- backends ----------------------------------------------------------------------------------------------------

    async def _call_backend(self, action: CallBackend) -> Replied | HookAnswered | Failed:
        asked = self._backends.of_method(action.method)
        try:
            answer = await self._backends.call(action.method, bytes(action.data), action.caller, self._rpc_timeout_s)
            return Replied(self._rpc_result(action, answer, asked))
        except BackendDisconnect as end:
            return HookAnswered(Disconnected(end.close))
        except BackendError as error:
            return Failed(error.error)
        except BadAnswer as error:
            self._refusals.write("a backend's answer to an RPC is unusable", str(error), _about(action, asked))
            return Failed(error.error, str(error), logged=True)
        except BackendAway as error:
            if error.no_responders:
                return Failed(codes.NOT_AVAILABLE, f"no backend answers it, asked: {asked}")
            self._refusals.write("an RPC is not answered", str(error), _about(action, asked))
        return Failed(codes.INTERNAL)

    def _rpc_result(self, action: CallBackend, answer: bytes, asked: str) -> RPCResult:
        try:
            return rpc_result(answer, action.caller.encoding)
        except BadAnswer:
            self._tally.backend_failed(asked, "rpc", "bad_answer")
            raise


def _about(action: Action, backend: str = "") -> dict[str, object]:
    """The fields of a log record about a command that failed here, as far as its action knows them."""
    caller = action.caller if isinstance(action, CallBackend | AskHook) else None
    info = action.info if isinstance(action, Publish) else None
    user, client = (caller.user, caller.client) if caller else (info.user, info.client) if info else ("", "")
    return about(client=client or "", user=user or "", backend=backend, **aim_behind(action)._asdict())
