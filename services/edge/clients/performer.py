"""Carries out one command that has to wait: for the cluster, for a backend, for the keys of a token.

It awaits first and then, in one step without any await, writes the reply and what goes with it: after a subscribe the
reply is the next thing that the client gets.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw, Struct

from proto import codes
from proto.codes import ErrorCode
from proto.commands import SubscribeRequest
from proto.messages import Publication, StreamPosition
from proto.replies import (
    HistoryResult,
    PresenceResult,
    PresenceStatsResult,
    PublishResult,
    Push,
    Reply,
    Result,
    RPCResult,
    SubscribeResult,
    reply_to,
)
from proto.replies import Subscribe as SubscribePush
from services.edge.backend.backend import BackendAway, BackendError, BadAnswer, rpc_result
from services.edge.broker.broker import BrokerAway, BrokerRefused
from services.edge.channels.history import HistoryPage
from services.edge.clients import channel_commands
from services.edge.clients.actions import (
    Action,
    AskHook,
    AttachRequest,
    CallBackend,
    Connected,
    LearnKey,
    Performed,
    Publish,
    ReadHistory,
    ReadPresence,
    error_reply,
)
from services.edge.clients.client import State
from services.edge.clients.entrance import connect_reply, cut, enter, subscribed
from services.edge.clients.laggard import Laggard, first_of
from services.edge.clients.orders import SubscribeOrder
from services.edge.settings import COMMAND_DEADLINE_S

if TYPE_CHECKING:
    from services.edge.clients.connection import Connection

log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode

_ORDER_RETRY_S: Final = 0.2

Then = Callable[[], None]
"""What follows the waiting, in one step."""


class _PublishAnswer(Struct, frozen=True):
    """The answer to the RPC `fairlead.publish`."""

    offset: int
    epoch: str


class Performer:
    """One command or order under way. It is done when it has called `Connection.performed`."""

    __slots__ = ("_beside", "_connection", "_task")

    def __init__(self, connection: Connection, action: Performed | SubscribeOrder) -> None:
        self._connection = connection
        self._beside = isinstance(action, AskHook) and action.event == "refresh"  # no command, nobody waits for it
        self._task = asyncio.get_running_loop().create_task(self._perform(action))

    async def _perform(self, action: Performed | SubscribeOrder) -> None:
        connection = self._connection
        decided: Action | SubscribeOrder = action
        try:
            async with asyncio.timeout(COMMAND_DEADLINE_S):
                if not isinstance(action, SubscribeOrder):
                    decided = await self._decide(action)
                then = await self._await(decided)
        except BrokerRefused as error:  # too large a publication, say: again it would be refused again
            connection.context.refused("the broker takes no publication of a client", str(error))
            then = self._fail(action, decided, codes.LIMIT_EXCEEDED)
        except (BrokerAway, TimeoutError) as error:
            log.debug("error 100 for a client: %s", error)
            then = self._fail(action, decided)
        except Exception:
            log.exception("a command failed")
            then = self._fail(action, decided)
        # From here on no await.
        try:
            then()
        except Exception:
            log.exception("what a command led to could not be said")
            connection.close(codes.INTERNAL_CLOSE)  # rather than a client that waits for ever; it comes back
        if not self._beside:
            connection.performed()

    async def _decide(self, action: Action) -> Action:
        """Goes back to the client's state machine with what it asked for, until it has decided."""
        client, context = self._connection.client, self._connection.context
        while True:
            match action:
                case LearnKey(command, kid):
                    fresh = await context.keys.wanted(kid)
                    action = client.handle_again(command, context.clock.now(), keys_are_fresh=fresh)
                case AskHook():
                    verdict = await context.verdicts.on(action, client.caller, context.clock.now())
                    action = client.decided(action, verdict, context.clock.now())
                case _:
                    return action

    async def _await(self, action: Action | SubscribeOrder) -> Then:
        match action:
            case AttachRequest():
                return await self._subscribe(action)
            case Connected():
                return await self._connect(action)
            case SubscribeOrder():
                return await self._subscribe_by_order(action)
            case Publish():
                return self._reply_later(action.command_id, await self._publish(action))
            case ReadHistory():
                return self._reply_later(action.command_id, await self._read_history(action))
            case ReadPresence():
                return self._reply_later(action.command_id, await self._read_presence(action))
            case CallBackend():
                return self._reply_later(action.command_id, await self._call(action))
            case _:
                return lambda: self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        out: list[bytes] = []
        self._connection.carry_out(action, out)
        if out:
            self._connection.write_framed(self._connection.format.frame(out), len(out))

    def _reply_later(self, command_id: int, answer: Result | ErrorCode) -> Then:
        reply = error_reply(command_id, answer) if isinstance(answer, ErrorCode) else reply_to(command_id, answer)
        return lambda: self._connection.reply(reply)

    def _fail(
        self, action: Performed | SubscribeOrder, decided: Action | SubscribeOrder, error: ErrorCode = codes.INTERNAL
    ) -> Then:
        """The client gets this error; with 100 it may try again. `decided` is what its command had become."""
        connection = self._connection
        if isinstance(action, SubscribeOrder):
            context = connection.context
            return lambda: context.refused("a backend's subscribe was not carried out", "the broker is away")
        if self._beside:
            return lambda: None
        command_id = action.command.id if isinstance(action, LearnKey | AskHook) else action.command_id
        if connection.client.state is State.NEW or isinstance(decided, Connected):
            return lambda: self._refuse_connect(command_id, error)
        return lambda: connection.reply(error_reply(command_id, error))

    # --- connect and subscribe ---------------------------------------------------------------------------------------

    async def _connect(self, action: Connected) -> Then:
        """The server-side subscriptions first: they are part of the reply."""
        connection = self._connection
        if not connection.closing:
            connection.admitted()
        results: dict[str, SubscribeResult] = {}
        if action.attach_requests and not connection.closing:
            # What is published meanwhile must not precede the reply: it is read from the log after it.
            connection.laggard = connection.laggard or Laggard(
                connection, connection.context, flowing=True, loses=False
            )
        for attach_request in action.attach_requests:
            result = await connection.context.node.subscribe(connection, attach_request)
            if isinstance(result, ErrorCode):
                error = result
                return lambda: self._refuse_connect(action.command_id, error)
            if connection.closing:
                connection.context.node.unsubscribe(connection, attach_request.channel)
                return lambda: None
            results[attach_request.channel] = enter(connection, attach_request, result)
        return lambda: self._reply_connected(action, results)

    def _reply_connected(self, action: Connected, results: dict[str, SubscribeResult]) -> None:
        connection = self._connection
        if connection.closing:
            return
        connection.opened()
        subs, positions = cut(results)
        connection.reply(connect_reply(connection, action, subs))
        if positions:
            connection.lags_at(positions)
        for attach_request in action.attach_requests:
            if attach_request.channel in connection.client.channels:
                connection.entered(attach_request.channel, attach_request.subscription, results[attach_request.channel])

    def _refuse_connect(self, command_id: int, error: ErrorCode) -> None:
        connection = self._connection
        for channel in tuple(connection.client.channels):
            connection.leave(channel)
        if connection.laggard is not None and not connection.laggard.loses:
            connection.laggard = None
        if connection.format.unidirectional:
            connection.close(codes.INTERNAL_CLOSE, error.message)
            return
        connection.reply(error_reply(command_id, error))
        connection.refused()

    async def _subscribe(self, action: AttachRequest) -> Then:
        connection = self._connection
        result = await connection.context.node.subscribe(connection, action)
        if isinstance(result, ErrorCode):
            return self._reply_later(action.command_id, result)
        return lambda: subscribed(connection, action, result)

    async def _subscribe_by_order(self, order: SubscribeOrder) -> Then:
        connection = self._connection
        client, since = connection.client, order.since
        if order.channel in client.channels:
            return lambda: None
        if len(client.channels) >= client.policy.section.channel_limit:
            connection.context.refused("a backend's subscribe was refused", "the connection has as many as it may have")
            return lambda: None
        request = SubscribeRequest()
        if since is not None:
            request = SubscribeRequest(recover=True, offset=since.offset, epoch=since.epoch)
        attach_request = channel_commands.server_side(
            client, order.channel, order.grant, request, connection.context.clock.now()
        )
        if isinstance(attach_request, ErrorCode):
            connection.context.refused(
                "a backend's subscribe was refused", f"{attach_request.code} {attach_request.message}"
            )
            return lambda: None
        while True:  # the backend was told that it is done, so this is tried until the deadline
            try:
                result = await connection.context.node.subscribe(connection, attach_request)
                return lambda: self._push_subscribed(attach_request, result)
            except BrokerAway:
                await asyncio.sleep(_ORDER_RETRY_S)

    def _push_subscribed(self, attach_request: AttachRequest, result: SubscribeResult | ErrorCode) -> None:
        connection = self._connection
        if isinstance(result, ErrorCode):
            connection.context.refused("a backend's subscribe was refused", f"{result.code} {result.message}")
            return
        if connection.closing:
            connection.context.node.unsubscribe(connection, attach_request.channel)
            return
        result = enter(connection, attach_request, result)
        push = SubscribePush(result.recoverable, result.epoch, result.offset, result.positioned, result.data)
        connection.push_alone(Push(channel=attach_request.channel, subscribe=push))
        first, room = first_of(result.publications)
        connection.reply(*(Reply(push=Push(channel=attach_request.channel, pub=publication)) for publication in first))
        if not room:
            connection.lags_at({attach_request.channel: StreamPosition(first[-1].offset, result.epoch)})
        connection.entered(attach_request.channel, attach_request.subscription, result)

    # --- everything else ---------------------------------------------------------------------------------------------

    async def _publish(self, action: Publish) -> Result | ErrorCode:
        publication = Publication(data=action.data, info=action.info, tags=action.tags)
        message_id = self._message_id(action) if action.key else ""
        position = await self._connection.context.node.publish(
            action.channel, action.rules, publication, message_id, skip_history=action.skip_history
        )
        if not action.key:
            return PublishResult()
        at = position or StreamPosition()
        if action.as_rpc:
            return RPCResult(Raw(_encode(_PublishAnswer(at.offset, at.epoch))))
        return PublishResult(at.offset, at.epoch)

    def _message_id(self, action: Publish) -> str:
        """Keys are the user's own in each channel: nobody takes up another one's. In base64, as they hold anything."""
        scope = _encode([action.channel, self._connection.client.identity.user, action.key])
        return "client." + base64.b64encode(scope).decode()

    async def _read_history(self, action: ReadHistory) -> HistoryResult | ErrorCode:
        node = self._connection.context.node
        found = await node.history.read(action.channel, action.rules, action.limit, action.since, action.reverse)
        if not isinstance(found, HistoryPage):
            return found
        first, _ = first_of(found.publications)  # the next page follows its last
        return HistoryResult(first, found.top.epoch, found.top.offset)

    async def _read_presence(self, action: ReadPresence) -> PresenceResult | PresenceStatsResult:
        node = self._connection.context.node
        if action.count_only:
            return await node.presence.stats(action.channel)
        return PresenceResult(await node.presence.members(action.channel))

    async def _call(self, action: CallBackend) -> RPCResult | ErrorCode:
        connection = self._connection
        context, caller = connection.context, connection.client.caller
        try:
            answer = await context.backend.call(
                action.method, bytes(action.data), caller, context.policy.section.rpc_timeout
            )
            return rpc_result(answer, caller.encoding)
        except BackendError as error:
            return error.error
        except BadAnswer as error:
            context.refused("a backend's answer to an RPC is unusable", str(error))
        except BackendAway as error:
            if error.nobody:
                connection.tell_refusal(*codes.NOT_AVAILABLE[:2], f"RPC {action.method[:80]!r}: no backend answers it")
                return codes.NOT_AVAILABLE
            context.refused("an RPC is not answered", str(error))
        return codes.INTERNAL
