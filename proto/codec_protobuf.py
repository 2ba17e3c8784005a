"""The Protobuf encoding: each message of a frame is preceded by its length, and payloads are any bytes.

The implementation is our own, so that the structs of `commands` and `replies` stay the only types: `_NUMBERS` adds the
field numbers of the protocol's schema, and `layouts_protobuf` derives the rest. Google's implementation would add a
second set of types (decision 5). The tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from msgspec import Struct

from proto import commands as c
from proto import messages as m
from proto import replies as r
from proto.codec import BadFrame
from proto.commands import Command, EmulationRequest
from proto.layouts_protobuf import Allowance, Layout, Layouts
from proto.replies import Push, Reply
from proto.wire_protobuf import LENGTH_BITS, read_varint, varint

S = TypeVar("S", bound=Struct)

FIELDS_PER_FRAME: Final = 4096
FIELDS_PER_COMMAND: Final = 16
MOST_FIELDS: Final = 65_536
"""A frame of commands may have `FIELDS_PER_FRAME` fields, or `FIELDS_PER_COMMAND` for each command that it may have, if
that is more; and never more than `MOST_FIELDS`, which take 35 ms. A subscribe has up to fifteen fields, rarely more
than eight; each channel in a connect has six."""

_NUMBERS: Final[dict[type[Struct], str]] = {
    m.ClientInfo: "user=1 client=2 conn_info=3 chan_info=4",
    m.Publication: "data=4 info=5 offset=6 tags=7 delta=8",
    m.StreamPosition: "offset=1 epoch=2",
    m.Error: "code=1 message=2 temporary=3",
    m.FilterNode: "op=1 key=2 cmp=3 val=4 vals=5 nodes=6",
    c.SubscribeRequest: "channel=1 token=2 recover=3 epoch=6 offset=7 data=8 positioned=9 recoverable=10 join_leave=11"
    " delta=12 tf=13 flag=14 type=15",
    c.ConnectRequest: "token=1 data=2 subs=3 name=4 version=5 headers=6",
    c.UnsubscribeRequest: "channel=1",
    c.PublishRequest: "channel=1 data=2 type=3 idempotency_key=100",  # from 100 on: Fairlead's own
    c.PresenceRequest: "channel=1",
    c.PresenceStatsRequest: "channel=1",
    c.HistoryRequest: "channel=1 limit=7 since=8 reverse=9",
    c.SendRequest: "data=1",
    c.RPCRequest: "data=1 method=2",
    c.RefreshRequest: "token=1",
    c.SubRefreshRequest: "channel=1 token=2 type=3",
    c.EmulationRequest: "node=1 session=2 data=3",
    c.Command: "id=1 connect=4 subscribe=5 unsubscribe=6 publish=7 presence=8 presence_stats=9 history=10 send=12"
    " rpc=13 refresh=14 sub_refresh=15",
    r.SubscribeResult: "expires=1 ttl=2 recoverable=3 epoch=6 publications=7 recovered=8 offset=9 positioned=10 data=11"
    " was_recovering=12 delta=13",
    r.ConnectResult: "client=1 version=2 expires=3 ttl=4 data=5 subs=6 ping=7 pong=8 session=9 node=10 time=11",
    r.Connect: "client=1 version=2 data=3 subs=4 expires=5 ttl=6 ping=7 pong=8 session=9 node=10 time=11",
    r.UnsubscribeResult: "",
    r.PublishResult: "offset=100 epoch=101",
    r.PresenceResult: "presence=1",
    r.PresenceStatsResult: "num_clients=1 num_users=2",
    r.HistoryResult: "publications=1 epoch=2 offset=3",
    r.RPCResult: "data=1",
    r.RefreshResult: "client=1 version=2 expires=3 ttl=4",
    r.SubRefreshResult: "expires=1 ttl=2",
    r.Join: "info=1",
    r.Leave: "info=1",
    r.Unsubscribe: "code=2 reason=3",
    r.Subscribe: "recoverable=1 epoch=4 offset=5 positioned=6 data=7",
    r.AsyncMessage: "data=1",
    r.Disconnect: "code=1 reason=2",
    r.Refresh: "expires=1 ttl=2",
    r.Push: "channel=2 pub=4 join=5 leave=6 unsubscribe=7 message=8 subscribe=9 connect=10 disconnect=11 refresh=12",
    r.Reply: "id=1 error=2 push=4 connect=5 subscribe=6 unsubscribe=7 publish=8 presence=9 presence_stats=10 history=11"
    " rpc=13 refresh=14 sub_refresh=15",
}

_LAYOUTS: Final = Layouts(_NUMBERS)
_COMMAND: Final = _LAYOUTS.of(Command)
_REPLY: Final = _LAYOUTS.of(Reply)
_PUSH: Final = _LAYOUTS.of(Push)
_EMULATION: Final = _LAYOUTS.of(EmulationRequest)


class ProtobufCodec:
    """Protobuf in both directions: binary frames. `NotEncodable` is raised only for a number that does not fit its
    field."""

    name = "protobuf"
    ping = b""

    def decode_commands(self, frame: bytes, max_commands: int) -> list[Command]:
        most_fields = min(max(FIELDS_PER_FRAME, FIELDS_PER_COMMAND * max_commands), MOST_FIELDS)
        return _messages(_COMMAND, frame, max_commands, most_fields)

    def split_first(self, frame: bytes) -> tuple[bytes, bytes]:
        _, end = _bounds(frame, 0)
        return frame[:end], frame[end:]

    def encode_reply(self, reply: Reply) -> bytes:
        return _REPLY.encode(reply)

    def encode_push(self, push: Push) -> bytes:
        return _PUSH.encode(push)

    def without_uncarried(self, reply: Reply) -> tuple[Reply | None, int]:
        return reply, 0

    def join(self, messages: Iterable[bytes]) -> bytes:
        return b"".join([part for message in messages for part in (varint(len(message)), message)])


PROTOBUF: Final = ProtobufCodec()


def encode_command(command: Command) -> bytes:
    """A command as a client encodes it: one message, for `join`."""
    return _COMMAND.encode(command)


def decode_replies(frame: bytes) -> list[Reply]:
    """The replies and pushes of a frame, as a client decodes them. Raises `BadFrame`."""
    return _messages(_REPLY, frame, len(frame), len(frame))


def decode_emulation(data: bytes) -> EmulationRequest:
    """The binary body of an emulation request. Raises `BadFrame`."""
    return _message(_EMULATION, data, 0, len(data), Allowance(FIELDS_PER_COMMAND))


def _messages(layout: Layout[S], frame: bytes, most: int, most_fields: int) -> list[S]:
    messages: list[S] = []
    allowance = Allowance(most_fields)
    pos = 0
    while pos < len(frame):
        if len(messages) == most:
            raise BadFrame(f"more than {most} messages in a frame")
        start, pos = _bounds(frame, pos)
        messages.append(_message(layout, frame, start, pos, allowance))
    if not messages:
        raise BadFrame("an empty frame")
    return messages


def _bounds(frame: bytes, pos: int) -> tuple[int, int]:
    """Where the message whose length is at `pos` begins and ends."""
    try:
        length, start = read_varint(frame, pos, LENGTH_BITS)
    except IndexError:
        raise BadFrame("a length is truncated") from None
    if start + length > len(frame):
        raise BadFrame(f"a message of {length} bytes is truncated")
    return start, start + length


def _message(layout: Layout[S], data: bytes, start: int, end: int, allowance: Allowance) -> S:
    try:
        return layout.decode(data, start, end, allowance)
    except IndexError:
        raise BadFrame("a field is truncated") from None
    except UnicodeDecodeError as error:
        raise BadFrame(str(error)) from None
