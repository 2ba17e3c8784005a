"""Mutated Protobuf commands."""

from __future__ import annotations

import random
from collections.abc import Iterator

from msgspec import Raw

from proto.codec_protobuf import PROTOBUF, encode_command
from proto.commands import (
    Command,
    HistoryRequest,
    PresenceRequest,
    PublishRequest,
    RPCRequest,
    SendRequest,
    SubRefreshRequest,
    SubscribeRequest,
    UnsubscribeRequest,
)
from proto.messages import FilterNode, StreamPosition


def _commands(channel: str) -> list[Command]:
    deep = Raw(b"[" * 980 + b"]" * 980)
    return [
        Command(id=2, publish=PublishRequest(channel, Raw(b'{"text":"hello","n":[1,2,3]}'))),
        Command(id=3, publish=PublishRequest(channel, Raw(b'"\\ud83d"'), idempotency_key="a key")),
        Command(id=4, publish=PublishRequest(channel, deep)),
        Command(id=5, subscribe=SubscribeRequest(channel, recover=True, epoch="e", offset=7, delta="fossil", flag=3)),
        Command(id=6, subscribe=SubscribeRequest(channel, tf=FilterNode("and", nodes=[FilterNode(key="k", cmp="ex")]))),
        Command(id=7, history=HistoryRequest(channel, 5, StreamPosition(2**64 - 1, ""), True)),
        Command(id=8, history=HistoryRequest(channel, -1)),
        Command(id=9, presence=PresenceRequest(channel)),
        Command(id=10, rpc=RPCRequest(Raw(b"{}"), "fairlead.publish")),
        Command(id=11, send=SendRequest(Raw(b"x"))),
        Command(id=12, unsubscribe=UnsubscribeRequest(channel)),
        Command(id=13, sub_refresh=SubRefreshRequest(channel, "a.b.c")),
    ]


def mutated_frames(count: int, channel: str, seed: int) -> Iterator[bytes]:
    """So many frames of one to three commands on `channel`, changed in a few bytes; the same for the same seed."""
    chance = random.Random(seed)
    encoded = [encode_command(command) for command in _commands(channel)]
    for _ in range(count):
        commands = [_changed(chance, chance.choice(encoded)) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
        frame = PROTOBUF.join(commands)
        yield _changed(chance, frame) if chance.random() < 0.2 else frame


def _changed(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        place = chance.randint(0, len(changed))
        kind = chance.random()
        if kind < 0.5 and place < len(changed):
            changed[place] = chance.randrange(256)
        elif kind < 0.7:
            changed[place:place] = chance.randbytes(chance.randint(1, 4))
        elif kind < 0.85:
            del changed[place : place + chance.randint(1, 4)]
        else:
            changed[place:place] = changed[max(0, place - 12) : place]
    return bytes(changed)
