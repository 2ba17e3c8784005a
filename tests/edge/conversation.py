"""Clients in a conversation: commands in, actions out, at times that the test says."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import jwt
import msgspec

from proto.codec_json import JSON
from proto.replies import reply_to
from services.chassis.process.settings import Duration
from services.edge.channels.namespaces import Namespaces
from services.edge.channels.subscription import Subscription
from services.edge.clients.actions import Action, Answer, AskHook, AttachRequest, Close, Connected, HookResult
from services.edge.clients.client import Client
from services.edge.clients.policy import Policy
from services.edge.framing.formats import WEBSOCKET_JSON, Format
from services.edge.settings import ChannelOptions, ChannelSection, ClientSection, Namespace
from services.edge.tokens.configured_keys import configured_keys
from services.edge.tokens.tokens import TokenVerifier
from tests.edge.signers import SECRET
from tests.support.cluster import START as START

VERSION = "Fairlead test"
HISTORY: dict[str, Any] = {"history_size": 10, "history_ttl": 60.0}

CHANNELS = ChannelSection(
    without_namespace=ChannelOptions(allow_subscribe_for_client=True),
    namespaces=[
        Namespace(name="closed"),
        Namespace(name="open", allow_subscribe_for_client=True, allow_publish_for_client=True),
        Namespace(
            name="all",
            allow_subscribe_for_client=True,
            allow_subscribe_for_anonymous=True,
            allow_publish_for_client=True,
            allow_publish_for_anonymous=True,
        ),
        Namespace(name="talk", allow_subscribe_for_client=True, allow_publish_for_subscriber=True),
        Namespace(name="log", allow_subscribe_for_client=True, force_recovery=True, force_positioning=True, **HISTORY),
        Namespace(
            name="mayrec", allow_subscribe_for_client=True, allow_recovery=True, allow_positioning=True, **HISTORY
        ),
        Namespace(name="hist", allow_subscribe_for_client=True, allow_history_for_client=True, **HISTORY),
        Namespace(name="members", allow_subscribe_for_client=True, allow_history_for_subscriber=True, **HISTORY),
        Namespace(name="nohist", allow_subscribe_for_client=True, allow_history_for_client=True),
        Namespace(name="word", allow_subscribe_for_client=True, channel_regex=r"\w+"),
        Namespace(name="limited", allow_user_limited_channels=True),
        Namespace(name="tags", allow_subscribe_for_client=True, allow_tags_filter=True),
        Namespace(
            name="diff",
            allow_subscribe_for_client=True,
            allow_tags_filter=True,
            allowed_delta_types=["fossil"],
            **HISTORY,
        ),
        Namespace(
            name="seen", allow_subscribe_for_client=True, presence=True, join_leave=True, allow_presence_for_client=True
        ),
        Namespace(
            name="inside",
            allow_subscribe_for_client=True,
            presence=True,
            join_leave=True,
            allow_presence_for_subscriber=True,
        ),
        Namespace(name="counted", allow_subscribe_for_client=True, presence=True),
        Namespace(
            name="public",
            presence=True,
            allow_presence_for_client=True,
            allow_presence_for_anonymous=True,
        ),
        Namespace(name="forced", allow_subscribe_for_client=True, join_leave=True, force_push_join_leave=True),
        Namespace(name="json", allow_publish_for_client=True, publication_data_format="json"),
        Namespace(name="object", allow_publish_for_client=True, publication_data_format="json_object"),
        Namespace(name="asked", subscribe_hook=True, publish_hook=True, hook_timeout=Duration(2), **HISTORY),
        Namespace(
            name="both",
            allow_subscribe_for_client=True,
            allow_publish_for_client=True,
            subscribe_hook=True,
            publish_hook=True,
            hook_when_away="allow",
        ),
    ],
)

V = TypeVar("V")


def token(**claims: Any) -> str:
    """A connection token of user 42, with these claims."""
    return jwt.encode({"sub": "42"} | claims, SECRET, algorithm="HS256")


class Conversation:
    """One client, and `now`, which the test moves."""

    def __init__(self, jitter: float = 0.0, format: Format = WEBSOCKET_JSON, **section: Any) -> None:
        options = ClientSection(**({"token_hmac_secret_key": SECRET} | section))
        self.keys = configured_keys(options)
        verifier = TokenVerifier(self.keys, insecure=options.insecure)
        self.connections: dict[str, int] = {}
        policy = Policy(options, Namespaces(CHANNELS), verifier, VERSION, lambda user: self.connections.get(user, 0))
        self.now = START
        self.client = Client("c1", policy, format, START, jitter)

    def says(self, command: dict[str, Any]) -> Action:
        """What the client decides about this command."""
        (decoded,) = JSON.decode_commands(json.dumps(command).encode(), 1)
        return self.client.handle(decoded, self.now)

    def does(self, kind: type[V], command: dict[str, Any]) -> V:
        """The same, which is an action of this kind."""
        action = self.says(command)
        assert isinstance(action, kind), action
        return action

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

    def decided(self, asked: AskHook, verdict: HookResult) -> Action:
        return self.client.decided(asked, verdict, self.now)

    def connected(self, **claims: Any) -> Conversation:
        """Connects as user 42."""
        assert "connect" in self.hears({"id": 1, "connect": {"token": token(**claims)}})
        return self

    def subscribed(self, channel: str, **request: Any) -> AttachRequest:
        """Subscribes, and is told that the cluster agreed."""
        action = self.does(AttachRequest, {"id": 2, "subscribe": {"channel": channel, **request}})
        return self.entered(action)

    def entered(self, action: AttachRequest) -> AttachRequest:
        """The cluster agreed to `action`."""
        self.client.channels[action.channel] = action.subscription
        return action

    def in_channel(self, channel: str) -> Subscription:
        return self.client.channels[channel]


def said(action: Action) -> dict[str, Any]:
    """The reply that the action is."""
    assert isinstance(action, Answer | Connected), action
    reply = action.reply if isinstance(action, Answer) else reply_to(action.command_id, action.result)
    decoded: dict[str, Any] = json.loads(msgspec.json.encode(reply))
    return decoded


def error_in(action: Action) -> int:
    error = said(action)["error"]
    assert error["message"]
    return int(error["code"])


def closed_by(action: object) -> int:
    assert isinstance(action, Close), action
    assert action.close.reason
    return action.close.code
