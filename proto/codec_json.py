"""The JSON encoding: messages are separated by newlines, payloads are embedded as JSON values."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from proto.codec import BadFrame, NotEncodable, payload
from proto.commands import Command, ConnectRequest
from proto.messages import Publication
from proto.replies import Push, Reply, SubscribeResult

_decode_command = msgspec.json.Decoder(Command).decode
_decode_connect = msgspec.json.Decoder(ConnectRequest).decode
_encode = msgspec.json.Encoder().encode


class JsonCodec:
    """JSON on both sides: text frames, one message a line. A payload that is not JSON raises `NotEncodable`."""

    name = "json"
    ping = b"{}"

    def decode_commands(self, frame: bytes, max_commands: int) -> list[Command]:
        if frame.endswith(b"\n"):
            frame = frame[:-1]
        lines = frame.split(b"\n", max_commands)
        if len(lines) > max_commands:
            raise BadFrame(f"more than {max_commands} commands in a frame")
        try:
            if not frame.isascii():
                frame.decode()  # binary frames were not checked before, and embedded values are passed on unread
            return [_decode_command(line) for line in lines]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadFrame(str(error)) from None

    def split_first(self, frame: bytes) -> tuple[bytes, bytes]:
        first, _, rest = frame.partition(b"\n")
        return first, rest

    def encode_reply(self, reply: Reply) -> bytes:
        return _encode(_embeddable(reply))

    def encode_push(self, push: Push) -> bytes:
        return _encode(_embeddable_push(push))

    def join(self, messages: Iterable[bytes]) -> bytes:
        return b"\n".join(messages)


JSON = JsonCodec()


def decode_connect(message: bytes) -> ConnectRequest:
    """The only message of a client on a unidirectional transport; it may be empty. Raises `BadFrame`."""
    try:
        if not message.isascii():
            message.decode()
        return _decode_connect(message or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(str(error)) from None


# A publication may come from a Protobuf client or from NATS, so its payload is checked here, before it is embedded. All
# other payloads (`info`, a subscription's `data`, an RPC's answer) are checked where they arrive.


def _embeddable(reply: Reply) -> Reply:
    """The reply, in which every publication's payload is checked to be JSON. Raises `NotEncodable`."""
    if reply.push is not None:
        return replace(reply, push=_embeddable_push(reply.push))
    if reply.history is not None and reply.history.publications:
        history = replace(reply.history, publications=_checked(reply.history.publications))
        return replace(reply, history=history)
    if reply.subscribe is not None and reply.subscribe.publications:
        return replace(reply, subscribe=_checked_result(reply.subscribe))
    if reply.connect is not None and reply.connect.subs:
        subs = {channel: _checked_result(result) for channel, result in reply.connect.subs.items()}
        return replace(reply, connect=replace(reply.connect, subs=subs))
    return reply


def _embeddable_push(push: Push) -> Push:
    if push.pub is not None:
        return replace(push, pub=replace(push.pub, data=_checked_data(push.pub.data)))
    if push.connect is not None and push.connect.subs:
        subs = {channel: _checked_result(result) for channel, result in push.connect.subs.items()}
        return replace(push, connect=replace(push.connect, subs=subs))
    return push


def _checked_result(result: SubscribeResult) -> SubscribeResult:
    return replace(result, publications=_checked(result.publications)) if result.publications else result


def _checked(publications: list[Publication]) -> list[Publication]:
    return [replace(publication, data=_checked_data(publication.data)) for publication in publications]


def _checked_data(data: Raw) -> Raw:
    try:
        return payload(bytes(data))
    except ValueError as error:
        raise NotEncodable(str(error)) from None
