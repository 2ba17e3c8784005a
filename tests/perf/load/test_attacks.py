"""The attacks are what their names say: an edge's own parser reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from perf.load.attacks import FLOOD_BYTES, Attack, attacks
from proto.codec_json import JSON
from services.edge.framing.wire import PART, PING, TEXT, Wire

ALL = {attack.name: attack for attack in attacks("127.0.0.1", 1)}


def read(attack: Attack, compression: bool = False) -> Iterator[tuple[int, bytes]]:
    """What a server reads in it."""
    wire = Wire(65536, compression)
    yield from wire.feed(attack.first)
    yield from wire.feed(attack.flood)


def test_the_first_line_of_the_table_is_no_attack() -> None:
    assert next(iter(ALL)) == "none" and not ALL["none"].flood


def test_a_flood_is_large() -> None:
    assert all(len(attack.flood) > FLOOD_BYTES * 0.95 for attack in ALL.values() if attack.flood and not attack.once)


def test_pings() -> None:
    assert set(read(ALL["pings"])) == {(PING, b"")}
    assert ALL["pings"].has_token and not ALL["pings without a token"].has_token


def test_empty_fragments_never_end_their_message() -> None:
    assert next(read(ALL["empty fragments"])) == (PART, b"")


def test_messages_of_256_commands() -> None:
    for name in ("256 commands a message", "256 refused subscribes a message"):
        opcode, message = next(read(ALL[name]))
        assert opcode == TEXT and len(JSON.decode_commands(message, 256)) == 256


def test_compressible_messages_become_large_ones() -> None:
    attack = ALL["compressible messages"]
    length = (attack.flood * 2).find(attack.flood, 1)  # of what is repeated in it
    [(opcode, message)] = read(replace(attack, flood=attack.flood[:length]), compression=True)
    assert opcode == TEXT and len(message) > 60_000
    assert len(attack.flood) // length > 10_000


def test_a_message_of_protobuf_fields() -> None:
    [(_, message)] = read(ALL["64 KB of Protobuf fields before connect"])
    assert 64_000 < len(message) <= 65536 and message.count(b"\x1a\x00") == 32_000


def test_a_message_of_json_objects() -> None:
    [(opcode, message)] = read(ALL["63 KB of JSON objects before connect"])
    assert opcode == TEXT and 62_000 < len(message) <= 65536 and message.count(b"{}") == 20_900


def test_http_is_spoken_without_an_upgrade() -> None:
    for name in ("HTTP: one-byte chunks", "HTTP: requests without waiting"):
        attack = ALL[name]
        assert not attack.opening and b" HTTP/1.1\r\n" in attack.first + attack.flood
