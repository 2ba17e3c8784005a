"""Decoders keep nothing of what strangers send: memory does not grow with many bad and good messages."""

from __future__ import annotations

import contextlib
import gc
import random
import tracemalloc
from collections.abc import Callable

import pytest

from proto.codec import BadFrame
from proto.codec_json import JSON, decode_connect
from proto.codec_protobuf import PROTOBUF, decode_emulation, encode_command
from proto.commands import Command, HistoryRequest, PublishRequest, SubscribeRequest
from proto.control import decode_answer, decode_request
from proto.events import decode_batch
from proto.members import decode_member_event
from proto.messages import FilterNode, StreamPosition
from proto.publications import decode_live, decode_publication
from proto.telemetry import decode_heartbeat
from services.edge.backend import hook_answers
from services.edge.backend.backend import BadAnswer
from services.edge.channels.tags_filter import compile_filter
from services.edge.tokens.token_keys import KeySet, SecretKey
from services.edge.tokens.tokens import InvalidToken, TokenVerifier

ROUNDS = 100
MOST_GROWTH_BYTES = 16 * 1024
"""Room for what the interpreter itself keeps; one kept message a round would be more."""

HEAD = b"NATS/1.0\r\nNats-Sequence: 7\r\nNats-Last-Sequence: 3\r\nFairlead-Tags: "
COMMANDS = [
    Command(id=1, subscribe=SubscribeRequest(channel="x" * 200, tf=FilterNode(op="and", nodes=[FilterNode()] * 9))),
    Command(id=2, publish=PublishRequest(channel="news", idempotency_key="k" * 90)),
    Command(id=3, history=HistoryRequest(channel="news", limit=-1, since=StreamPosition(5, "epoch"))),
]


def _verify(data: bytes) -> object:
    return VERIFIER.connection(data.decode("latin-1"), 0)


def _filter(data: bytes) -> object:
    return [compile_filter(c.subscribe.tf) for c in JSON.decode_commands(data, 64) if c.subscribe and c.subscribe.tf]


VERIFIER = TokenVerifier(KeySet([SecretKey(b"a secret of the tests" * 3)]))

DECODERS: dict[str, Callable[[bytes], object]] = {
    "json commands": lambda data: JSON.decode_commands(data, 64),
    "json connect": lambda data: decode_connect(data, 64),
    "protobuf commands": lambda data: PROTOBUF.decode_commands(data, 64),
    "protobuf emulation": decode_emulation,
    "publication": lambda data: decode_publication(HEAD + data, data),
    "live message": lambda data: decode_live(HEAD + data, data),
    "control request": decode_request,
    "control answer": decode_answer,
    "member event": decode_member_event,
    "session events": decode_batch,
    "heartbeat": decode_heartbeat,
    "connect hook": hook_answers.connect_answer,
    "subscribe hook": hook_answers.subscribe_answer,
    "publish hook": hook_answers.publish_answer,
    "refresh hook": hook_answers.refresh_answer,
    "token": _verify,
    "tags filter": _filter,
}


def corpus(chance: random.Random) -> list[bytes]:
    """Good messages, damaged ones and noise, none of them seen before."""
    good = [PROTOBUF.join([encode_command(command) for command in COMMANDS])]
    name = f"{chance.getrandbits(120):030x}"
    good += [f'{{"id":{chance.getrandbits(30)},"subscribe":{{"channel":"{name}","tf":{{"key":"a"}}}}}}'.encode()]
    good += [f'{{"ask":"members","channel":"{name}"}}'.encode(), f'{{"{name}":1}}\r\n\r\n'.encode()]
    good += [f'{{"result":{{"user":"{name}","channels":["{name}"]}}}}'.encode(), f"{name}.{name}.{name}".encode()]
    damaged = []
    for message in good:
        broken = bytearray(message)
        for _ in range(3):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        damaged.append(bytes(broken))
    return [*good, *damaged, chance.randbytes(200), b"[" * 5000, b"\xff" * 12]


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_keeps_nothing(name: str) -> None:
    decode, chance = DECODERS[name], random.Random(7)

    def rounds(count: int) -> None:
        for _ in range(count):
            for message in corpus(chance):
                with contextlib.suppress(BadFrame, ValueError, BadAnswer, InvalidToken):
                    decode(message)

    rounds(20)
    tracemalloc.start()
    try:
        rounds(20)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        rounds(ROUNDS)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < MOST_GROWTH_BYTES, f"{grown} bytes stayed after {ROUNDS} rounds"
