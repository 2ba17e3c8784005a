"""One client's connection on an edge in memory, over a transport that keeps the frames."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from proto.codec_json import JSON
from proto.codec_protobuf import PROTOBUF, encode_command
from proto.commands import Command
from services.edge.connection.connection import Connection
from services.edge.framing.formats import WEBSOCKET_JSON, Format
from services.edge.session.state import Phase
from tests.edge.conversation import token
from tests.support.cluster import TestEdge
from tests.support.eventually import eventually
from tests.support.transport import FakeTransport

_decode = msgspec.json.Decoder(Command).decode


class Talk:
    """A client that sends exactly what a test sends. Messages are given in JSON form, also where it speaks Protobuf."""

    def __init__(self, edge: TestEdge, format: Format = WEBSOCKET_JSON, session: str = "") -> None:
        self.edge = edge
        self.transport = FakeTransport()
        self.connection = Connection(edge.context, self.transport, format, session)
        self.transport.connection = self.connection
        self._last_id = 1
        self._asked: dict[int, str] = {}  # the channels of its subscribes

    @property
    def id(self) -> str:
        return self.connection.session.state.id

    @property
    def channels(self) -> list[str]:
        """Where it is subscribed."""
        return list(self.connection.session.state.channels)

    def say(self, *commands: dict[str, Any]) -> None:
        """Sends these commands in one frame."""
        self._asked |= {each["id"]: each["subscribe"]["channel"] for each in commands if "subscribe" in each}
        lines = [json.dumps(command).encode() for command in commands]
        if self.connection.session.state.format.codec is PROTOBUF:
            frame = PROTOBUF.join(encode_command(_decode(line)) for line in lines)
        else:
            frame = JSON.join(lines)
        self.connection.message_received(frame)

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Sends one command and returns its reply, without its id."""
        self._last_id += 1
        number = self._last_id
        self.say({"id": number, **request})
        return await self.reply(number)

    async def reply(self, number: int) -> dict[str, Any]:
        """The reply to a command, once it is there."""
        found = await eventually(lambda: [each for each in self.heard if each.get("id") == number])
        (reply,) = found
        return {name: value for name, value in reply.items() if name != "id"}

    async def connect(self, claims: dict[str, Any] | None = None, **request: Any) -> dict[str, Any]:
        """Connects; with `claims`, by a token of user 42."""
        if claims is not None:
            request["token"] = token(**claims)
        self.say({"id": 1, "connect": request})
        result: dict[str, Any] = (await self.reply(1))["connect"]
        assert self.connection.session.phase is Phase.CONNECTED
        return result

    async def subscribe(self, channel: str, **request: Any) -> dict[str, Any]:
        result: dict[str, Any] = (await self.ask(subscribe={"channel": channel, **request}))["subscribe"]
        return result

    async def error(self, **request: Any) -> int:
        """The code of the error reply."""
        return int((await self.ask(**request))["error"]["code"])

    # --- what it received --------------------------------------------------------------------------------------------

    @property
    def heard(self) -> list[dict[str, Any]]:
        """Everything, in order."""
        return self.transport.messages

    @property
    def pushes(self) -> list[dict[str, Any]]:
        return [message["push"] for message in self.heard if "push" in message]

    def publications(self, channel: str) -> list[dict[str, Any]]:
        """Those of a channel: recovered in a reply, or pushed."""
        seen: list[dict[str, Any]] = []
        for message in self.heard:
            if self._asked.get(message.get("id", 0)) == channel:
                seen += message.get("subscribe", {}).get("publications", [])
            seen += message.get("connect", {}).get("subs", {}).get(channel, {}).get("publications", [])
            push = message.get("push", {})
            if push.get("channel") == channel and "pub" in push:
                seen.append(push["pub"])
        return seen

    def values(self, channel: str) -> list[Any]:
        return [each["data"] for each in self.publications(channel)]

    @property
    def members(self) -> list[tuple[str, str, str]]:
        """The joins and leaves, as ("join", channel, client)."""
        return [
            (kind, push["channel"], push[kind]["info"]["client"])
            for push in self.pushes
            for kind in ("join", "leave")
            if kind in push
        ]

    @property
    def open(self) -> bool:
        """Whether the edge has not closed it."""
        return self.transport.close_frame is None

    @property
    def slow(self) -> bool:
        """Whether the edge waits for the socket to drain, and meanwhile does not read from it."""
        return not self.transport.reading

    @property
    def closed(self) -> int:
        """The code with which the edge closed it, 0 while it is open."""
        return 0 if self.transport.close_frame is None else self.transport.close_frame[0]


async def connected(edge: TestEdge, format: Format = WEBSOCKET_JSON, **claims: Any) -> Talk:
    """A client that has connected; as user 42, if it has claims."""
    talk = Talk(edge, format)
    await talk.connect(claims or None)
    return talk
