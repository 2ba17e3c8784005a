"""The JSON encoding: messages are separated by newlines, payloads are embedded as JSON values."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from proto.codec import BadFrame, NotEncodable, payload
from proto.commands import Command, ConnectRequest
from proto.json_decoder import JsonDecoder
from proto.json_structure import UNCHECKED_BYTES, TooMuchStructure, check_structure
from proto.messages import Publication
from proto.replies import Push, Reply, SubscribeResult

_commands: JsonDecoder[Command] = JsonDecoder(Command, replaces_halves=True)
_connects: JsonDecoder[ConnectRequest] = JsonDecoder(ConnectRequest, replaces_halves=True)
_decode_strictly = _commands.strictly
_encode = msgspec.json.Encoder().encode
_NULL = Raw(b"null")


class JsonCodec:
    """JSON in both directions: text frames, one message per line. A payload that is not JSON raises `NotEncodable`."""

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
                frame.decode()  # binary frames were not checked before, and payloads are passed on undecoded
            if len(frame) > UNCHECKED_BYTES:
                check_structure(frame, lines, max_commands)
            commands = [_decode_strictly(line) for line in lines]
            if b"null" not in frame or not any(map(_commands.has_null, commands)):
                return commands
        except (msgspec.DecodeError, RecursionError):
            pass
        except (UnicodeDecodeError, TooMuchStructure) as error:
            raise BadFrame(str(error)) from None
        return _decode_leniently(frame, lines, max_commands)

    def split_first(self, frame: bytes) -> tuple[bytes, bytes]:
        first, _, rest = frame.partition(b"\n")
        return first, rest

    def encode_reply(self, reply: Reply) -> bytes:
        return _encode(_embeddable(reply))

    def encode_push(self, push: Push) -> bytes:
        return _encode(_embeddable_push(push))

    def without_uncarried(self, reply: Reply) -> tuple[Reply | None, int]:
        if reply.push is not None and reply.push.pub is not None:
            return None, 1
        left_out = 0

        def carried(publications: list[Publication]) -> list[Publication]:
            nonlocal left_out
            kept = list(filter(_is_json, publications))
            left_out += len(publications) - len(kept)
            return kept

        return _with_lists(reply, carried), left_out

    def join(self, messages: Iterable[bytes]) -> bytes:
        return b"\n".join(messages)


JSON = JsonCodec()


def decode_connect(message: bytes, max_commands: int) -> ConnectRequest:
    """The only message of a client on a unidirectional transport; it may be empty. `max_commands` is the number of
    commands that a frame of another client may have. Raises `BadFrame`."""
    try:
        check_structure(message, [message], max_commands)
        return _connects.decode(message or b"{}")
    except (msgspec.DecodeError, TooMuchStructure) as error:
        raise BadFrame(str(error)) from None


def _decode_leniently(frame: bytes, lines: list[bytes], max_commands: int) -> list[Command]:
    try:
        check_structure(frame, lines, max_commands)
        return [_commands.decode(line) for line in lines]
    except (msgspec.DecodeError, TooMuchStructure) as error:
        raise BadFrame(str(error)) from None


# A publication may come from a Protobuf client or from NATS, so its payload is checked here, before it is embedded. All
# other payloads (`info`, a subscription's `data`, an RPC's answer) are checked where they arrive. An empty payload,
# which is possible in a namespace of binary data, becomes null here.

_Check = Callable[[list[Publication]], list[Publication]]


def _embeddable(reply: Reply) -> Reply:
    """The reply, in which every publication's payload is checked to be JSON. Raises `NotEncodable`."""
    if reply.push is not None:
        return replace(reply, push=_embeddable_push(reply.push))
    return _with_lists(reply, _checked)


def _embeddable_push(push: Push) -> Push:
    if push.pub is not None:
        return replace(push, pub=replace(push.pub, data=_checked_data(push.pub.data)))
    return _push_with_lists(push, _checked)


def _with_lists(reply: Reply, check: _Check) -> Reply:
    """The reply with its lists of publications replaced by what `check` returns for them."""
    if reply.push is not None:
        return replace(reply, push=_push_with_lists(reply.push, check))
    if reply.history is not None and reply.history.publications:
        return replace(reply, history=replace(reply.history, publications=check(reply.history.publications)))
    if reply.subscribe is not None and reply.subscribe.publications:
        return replace(reply, subscribe=_result_with_list(reply.subscribe, check))
    if reply.connect is not None and reply.connect.subs:
        subs = {channel: _result_with_list(result, check) for channel, result in reply.connect.subs.items()}
        return replace(reply, connect=replace(reply.connect, subs=subs))
    return reply


def _push_with_lists(push: Push, check: _Check) -> Push:
    if push.connect is not None and push.connect.subs:
        subs = {channel: _result_with_list(result, check) for channel, result in push.connect.subs.items()}
        return replace(push, connect=replace(push.connect, subs=subs))
    return push


def _result_with_list(result: SubscribeResult, check: _Check) -> SubscribeResult:
    return replace(result, publications=check(result.publications)) if result.publications else result


def _checked(publications: list[Publication]) -> list[Publication]:
    return [replace(publication, data=_checked_data(publication.data)) for publication in publications]


def _checked_data(data: Raw) -> Raw:
    content = bytes(data)
    if not content:
        return _NULL
    try:
        return payload(content)
    except ValueError as error:
        raise NotEncodable(str(error)) from None


def _is_json(publication: Publication) -> bool:
    try:
        _checked_data(publication.data)
    except NotEncodable:
        return False
    return True
