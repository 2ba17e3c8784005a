"""Sessions in a conversation: commands in, effects out, at times that the test sets."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import jwt
import msgspec

from proto import codes
from proto.codec_json import JSON
from proto.commands import Command
from proto.replies import SubscribeResult
from services.chassis.tracing.span import Tracer
from services.edge.adoption import verifier_of
from services.edge.arrival import UNKNOWN, Arrival
from services.edge.channel_settings import ChannelSection
from services.edge.channels.namespaces import Namespaces
from services.edge.channels.subscription import AttachRequest, Subscription
from services.edge.client_settings import ClientSection
from services.edge.framing.formats import WEBSOCKET_JSON, Format
from services.edge.limit_settings import NO_LIMITS, LimitsSection
from services.edge.session.actions import Action, AskHook, Connect
from services.edge.session.allowances import Allowances
from services.edge.session.effects import Effect, Ended, Farewell, LogRefusal, RecordRefusal, Send, Start
from services.edge.session.outcomes import Attached, AttachedAll, Failed, HookAnswered, HookResult, Outcome
from services.edge.session.policy import CurrentPolicy, Policy
from services.edge.session.server_commands import ServerCommand
from services.edge.session.session import Session
from services.edge.session.state import SessionState
from services.edge.settings import EdgeSettings
from services.edge.tokens.configured_keys import key_sets
from tests.edge.signers import SECRET
from tests.support.cluster import START as START
from tests.support.namespaces import NAMESPACES

VERSION = "Fairlead test"
V = TypeVar("V")


def token(**claims: Any) -> str:
    """A connection token of user 42, with these claims."""
    return jwt.encode({"sub": "42"} | claims, SECRET, algorithm="HS256")


class Conversation:
    """One session, and `now`, which the test moves. `effects` are those of the last event.

    The wall clock is `ahead` of `now`.
    """

    def __init__(
        self,
        client_id: str = "c1",
        format: Format = WEBSOCKET_JSON,
        native_pings: bool = False,
        address: str = "",
        arrival: Arrival = UNKNOWN,
        limits: LimitsSection = NO_LIMITS,
        channel: ChannelSection | None = None,
        tracer: Tracer | None = None,
        **section: Any,
    ) -> None:
        defaults: dict[str, Any] = {"token_hmac_secret_key": SECRET, "token_nbf_leeway": 0}
        options = ClientSection(**(defaults | section))
        keys = key_sets(options)
        self.keys = keys.connection
        verifier = verifier_of(EdgeSettings(client=options), keys)
        self.connections: dict[str, int] = {}
        policy = Policy(
            options,
            Namespaces(channel) if channel else NAMESPACES,
            verifier,
            VERSION,
            connections_of=lambda user: self.connections.get(user, 0),
            allowances=Allowances(limits, options, channel or ChannelSection()),
            clock_ahead=lambda: self.ahead,
            tracer=tracer,
        )
        self.now = START
        self.ahead = 0.0
        self.current = CurrentPolicy(policy)
        state = SessionState(
            client_id, self.current, format, native_pings=native_pings, address=address, arrival=arrival
        )
        self.session = Session(state, START + options.stale_close_delay)
        self.effects: list[Effect] = []

    @property
    def state(self) -> SessionState:
        return self.session.state

    def says(self, command: dict[str, Any]) -> list[Effect]:
        """The effects of this command."""
        data = json.dumps(command).encode()
        (decoded,) = JSON.decode_commands(data, 1)
        return self.takes(decoded, len(data))

    def takes(self, command: Command, size: int = 1) -> list[Effect]:
        """The effects of this command, which came in a message of `size` bytes."""
        return self.see(self.session.commands([command], size, self.now))

    def see(self, effects: list[Effect]) -> list[Effect]:
        """Notes the effects of an event."""
        self.effects = effects
        return effects

    def does(self, kind: type[V], command: dict[str, Any]) -> V:
        """The action that the command starts, which is of this kind."""
        action = started(self.says(command))
        assert isinstance(action, kind), action
        return action

    def completes(self, action: Action, outcome: Outcome) -> list[Effect]:
        """The effects of this outcome of the action."""
        return self.see(self.session.completed(action, outcome, self.now))

    def fails(self, action: Action) -> None:
        """The action comes to nothing, and the session goes on."""
        self.completes(action, Failed(codes.INTERNAL))

    def server_command(self, command: ServerCommand) -> list[Effect]:
        """The effects of this command of a backend."""
        return self.see(self.session.server_command(command, self.now))

    def hears(self, command: dict[str, Any]) -> dict[str, Any]:
        """The reply, without its id."""
        reply = said(self.says(command))
        assert reply.pop("id") == command["id"]
        return reply

    def error(self, command: dict[str, Any]) -> int:
        """The code of the error reply."""
        return error_in(self.says(command))

    def closed(self, command: dict[str, Any]) -> int:
        """The code with which the connection ends."""
        return closed_by(self.says(command))

    def asks(self, command: dict[str, Any]) -> tuple[AskHook, dict[str, Any]]:
        """The hook that decides about the command, and its question."""
        action = self.does(AskHook, command)
        question: dict[str, Any] = json.loads(action.question)
        return action, question

    def decided(self, asked: AskHook, result: HookResult) -> list[Effect]:
        """The effects of the hook's answer."""
        return self.completes(asked, HookAnswered(result))

    def connected(self, **claims: Any) -> Conversation:
        """Connects as user 42."""
        effects = self.says({"id": 1, "connect": {"token": token(**claims)}})
        action = started_or_none(effects)
        if isinstance(action, Connect):
            effects = self.completes(action, AttachedAll({each.channel: ATTACHED for each in action.requests}))
            self.session.caught_up(self.now)
        assert "connect" in said(effects).get("push", said(effects))
        return self

    def subscribed(self, channel: str, **request: Any) -> AttachRequest:
        """Subscribes, and is attached."""
        action = self.does(AttachRequest, {"id": 2, "subscribe": {"channel": channel, **request}})
        return self.entered(action)

    def entered(self, action: AttachRequest) -> AttachRequest:
        """The client is attached as `action` asks."""
        self.completes(action, ATTACHED)
        return action

    def in_channel(self, channel: str) -> Subscription:
        return self.state.channels[channel]

    def tick(self) -> list[Effect]:
        """The effects of the time."""
        return self.see(self.session.tick(self.now))


ATTACHED = Attached(SubscribeResult())
"""To a channel without history."""


def started_or_none(effects: list[Effect]) -> Action | None:
    """The action that the effects start; at most one."""
    actions = [effect.action for effect in effects if isinstance(effect, Start)]
    assert len(actions) <= 1
    return actions[0] if actions else None


def started(effects: list[Effect]) -> Action:
    """The action that the effects start."""
    action = started_or_none(effects)
    assert action is not None, effects
    return action


def said(effects: list[Effect]) -> dict[str, Any]:
    """The one reply or push that the effects send."""
    replies = [effect.reply for effect in effects if isinstance(effect, Send)]
    assert len(replies) == 1, effects
    decoded: dict[str, Any] = json.loads(msgspec.json.encode(replies[0]))
    return decoded


def error_in(effects: list[Effect]) -> int:
    """The code of the error reply that the effects send."""
    error = said(effects)["error"]
    assert error["message"]
    return int(error["code"])


def closed_by(effects: list[Effect]) -> int:
    """The code with which the effects end the connection."""
    (close,) = [effect.close for effect in effects if isinstance(effect, Farewell)]
    assert close.reason
    assert any(isinstance(effect, Ended) and effect.code == close.code for effect in effects)
    return close.code


def refused_by(effects: list[Effect]) -> tuple[str, int, str]:
    """What the session log is told of the one refusal: what the client wanted, code and reason."""
    (told,) = [effect for effect in effects if isinstance(effect, RecordRefusal)]
    return told.action, told.code, told.reason


def logged(effects: list[Effect]) -> str:
    """The lines that the effects write to the log about refusals."""
    return "\n".join(f"{effect.what}: {effect.why}" for effect in effects if isinstance(effect, LogRefusal))


def connected(**section: Any) -> Conversation:
    """A session of user 42."""
    return Conversation(**section).connected()


def anonymous(**section: Any) -> Conversation:
    """A session that connected without a token."""
    conversation = Conversation(**({"allow_anonymous_connect_without_token": True} | section))
    conversation.hears({"id": 1, "connect": {}})
    return conversation


def connect(**claims: Any) -> dict[str, Any]:
    """The command by which user 42 connects."""
    return {"id": 1, "connect": {"token": token(**claims)}}
