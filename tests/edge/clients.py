"""Clients in a conversation: commands in, actions out, at times that the test says."""

from __future__ import annotations

import json
from typing import Any

import jwt
import msgspec

from proto.codec import decode_commands
from services.edge.actions import Action, Answer, Close, Connected, Subscribe
from services.edge.client import Client, Policy
from services.edge.namespaces import Namespaces
from services.edge.settings import ChannelOptions, ChannelSection, ClientSection, Namespace
from services.edge.tokens import TokenVerifier

SECRET = "a secret of the tests, " * 3  # as long as HS512 wants it (RFC 7518, 3.2)
START = 1_767_225_600.0
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
    ],
)


def token(**claims: Any) -> str:
    """A connection token of user 42, with these claims."""
    return jwt.encode({"sub": "42"} | claims, SECRET, algorithm="HS256")


class Conversation:
    """One client, and `now`, which the test moves."""

    def __init__(self, jitter: float = 0.0, **section: Any) -> None:
        options = ClientSection(**({"token_hmac_secret_key": SECRET} | section))
        verifier = TokenVerifier(options.token_hmac_secret_key, options.insecure)
        self.now = START
        self.client = Client("c1", Policy(options, Namespaces(CHANNELS), verifier, VERSION), START, jitter)

    def says(self, command: dict[str, Any]) -> Action:
        """What the client decides about this command."""
        (decoded,) = decode_commands(json.dumps(command).encode(), 1)
        return self.client.handle(decoded, self.now)

    def hears(self, command: dict[str, Any]) -> dict[str, Any]:
        """The reply, without its id."""
        action = self.says(command)
        assert isinstance(action, Answer | Connected), action
        reply: dict[str, Any] = json.loads(msgspec.json.encode(action.reply))
        assert reply.pop("id") == command["id"]
        return reply

    def error(self, command: dict[str, Any]) -> int:
        """The code of the error reply."""
        error = self.hears(command)["error"]
        assert error["message"]
        return int(error["code"])

    def closed(self, command: dict[str, Any]) -> int:
        """The code with which the connection ends."""
        action = self.says(command)
        assert isinstance(action, Close), action
        return action.close.code

    def connected(self, **claims: Any) -> Conversation:
        """Connects as user 42."""
        assert "connect" in self.hears({"id": 1, "connect": {"token": token(**claims)}})
        return self

    def subscribed(self, channel: str, **request: Any) -> Subscribe:
        """Subscribes, and is told that the cluster agreed."""
        action = self.says({"id": 2, "subscribe": {"channel": channel, **request}})
        assert isinstance(action, Subscribe), action
        self.client.channels[channel] = action.rules
        return action
