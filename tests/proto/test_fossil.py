"""Fossil deltas, held to the stock client's own reader: of any two payloads it makes the second from the first."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from centrifuge import fossil as stock
from hypothesis import given, settings
from hypothesis import strategies as st

from proto.fossil import MAX_COPIES, apply_delta, create_delta, create_text_delta

FEW = settings(max_examples=150, deadline=None)
OVERHEAD_BYTES = 24  # the numbers around one literal

SOURCE = b'{"symbol":"AAPL","price":187.25,"updated":1767225600123}'
DELTA = create_delta(SOURCE, SOURCE.replace(b"187.25", b"187.31"))

pieces = st.binary(max_size=40) | st.sampled_from([bytes(20), b"ab" * 30, b'{"id":17,"name":"instrument","price":'])
letters = st.text(alphabet="abö€😀語", max_size=30)


@st.composite
def related(draw: st.DrawFn, parts: st.SearchStrategy[Any], nothing: Any) -> tuple[Any, Any]:
    """Two payloads of the same pieces, some dropped, moved, doubled or new in the second."""
    known = draw(st.lists(parts, max_size=12))
    again = draw(st.lists(parts | st.sampled_from(known), max_size=12)) if known else []
    start = draw(st.integers(0, len(known)))
    return nothing.join(known), nothing.join(known[:start] + again + known[start:])


byte_pairs = st.tuples(st.binary(), st.binary()) | related(pieces, b"")
text_pairs = st.tuples(letters, letters) | related(letters, "")


def document(rows: int, seed: int = 0) -> dict[str, Any]:
    some = random.Random(seed)
    return {
        "symbol": "AAPL",
        "rows": [{"id": i, "price": some.randint(1000, 9999), "name": some.randbytes(6).hex()} for i in range(rows)],
        "updated": 1767225600123,
    }


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def stock_json_apply(source: str, delta: bytes) -> str:
    """As the stock client does on a JSON connection, where a delta comes as a JSON string."""
    data = json.loads(json.dumps(delta.decode("utf-8")))
    made: bytes = stock.apply_delta(source.encode("utf-8"), data.encode("utf-8"))
    return made.decode("utf-8")


@FEW
@given(byte_pairs)
def test_the_stock_client_makes_the_target(pair: tuple[bytes, bytes]) -> None:
    source, target = pair
    delta = create_delta(source, target)
    assert stock.apply_delta(source, delta) == target
    assert apply_delta(source, delta) == target
    assert len(delta) <= len(target) + OVERHEAD_BYTES


@FEW
@given(text_pairs)
def test_a_text_delta_is_text_and_the_stock_client_makes_the_target(pair: tuple[str, str]) -> None:
    source, target = pair
    delta = create_text_delta(source.encode(), target.encode())
    if delta is not None:
        assert stock_json_apply(source, delta) == target
        assert len(delta) < len(target.encode())


@pytest.mark.parametrize("size", [4095, 4096, 4097, 70_000, 300_001])
def test_large_payloads(size: int) -> None:
    """Random ones, and the one with the highest checksum."""
    some = random.Random(size)
    noise = some.randbytes(size)
    edited = noise[: size // 3] + b"new" + noise[size // 3 : -50] + b"also new" + noise[-40:]
    for source, target in ((b"", noise), (noise, edited), (edited, noise), (noise, b"\xff" * size), (noise, b"")):
        delta = create_delta(source, target)
        assert stock.apply_delta(source, delta) == target
        assert apply_delta(source, delta) == target


@pytest.mark.parametrize("rows", [3, 60, 400])
def test_one_changed_field_is_told_in_a_few_bytes(rows: int) -> None:
    before, after = document(rows), document(rows)
    after["rows"][rows // 2]["price"] = 17
    assert len(create_delta(encoded(before), encoded(after))) < 60
    after["updated"] += 1000
    assert len(create_delta(encoded(before), encoded(after))) < 75


def test_many_changed_fields_are_told_in_a_few_bytes_each() -> None:
    before, after = document(300), document(300)
    for row in after["rows"]:
        row["price"] += 1
    assert len(create_delta(encoded(before), encoded(after))) < 300 * 16


def test_moved_text_is_found() -> None:
    before, after = document(300), document(300)
    after["rows"] = [{"id": 301, "price": 17, "name": "x" * 200}, *after["rows"][100:], *after["rows"][:100]]
    after["updated"] += 1
    assert len(create_delta(encoded(before), encoded(after))) < 400


@pytest.mark.parametrize("new_bytes", [0, 2000, 5000, 20_001, 60_003])
def test_moved_text_in_a_large_payload_is_found(new_bytes: int) -> None:
    """One whose blocks are not all indexed."""
    some = random.Random(new_bytes)
    noise = some.randbytes(400_000)
    target = b"<" + noise[200_000:] + some.randbytes(new_bytes) + noise[:200_000] + b">"
    assert len(create_delta(b"(" + noise + b")", target)) < new_bytes + 1000


def test_the_end_is_not_told_twice() -> None:
    """What is in common within the payloads goes on in the source with what the end in common begins with."""
    some = random.Random(4)
    part, end = some.randbytes(40), some.randbytes(40)
    source, target = b"(" + part + end[:20] + b"-----" + end, b"[" + part + end
    delta = create_delta(source, target)
    assert stock.apply_delta(source, delta) == target
    assert len(delta) < 30


def test_unrelated_payloads_cost_a_few_bytes_more() -> None:
    some = random.Random(2)
    target = some.randbytes(20_000)
    assert len(create_delta(some.randbytes(20_000), target)) <= len(target) + OVERHEAD_BYTES
    assert create_text_delta(b'{"a":1}', b'[2,"b"]') is None


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each command made that the stock client carried out."""
    sizes: list[int] = []
    put = stock.Writer.put_array

    def counted(writer: Any, array: bytes, start: int, end: int) -> None:
        sizes.append(end - start)
        put(writer, array, start, end)

    monkeypatch.setattr(stock.Writer, "put_array", counted)
    return sizes


def test_a_text_of_which_little_is_left_ends_the_search(runs: list[int]) -> None:
    """Blocks in another order: each is a copy of its own, up to the bound, and the rest is a literal."""
    some = random.Random(3)
    blocks = [some.randbytes(16) for _ in range(3000)]
    source = b"".join(blocks)
    some.shuffle(blocks)
    delta = create_delta(source, b"".join(blocks))
    assert stock.apply_delta(source, delta) == b"".join(blocks)
    assert MAX_COPIES <= len(runs) <= 2 * MAX_COPIES
    assert len(delta) < len(source) - 8 * MAX_COPIES


@pytest.mark.parametrize("old, new", ["äö", "¤ä", "語説", "😀😁", "é語", "x😀"], ids=str)
@pytest.mark.parametrize("around", ["x", "ä", "語", "😀"])
def test_a_text_delta_leaves_characters_whole(old: str, new: str, around: str) -> None:
    """Characters whose bytes begin or end alike."""
    source, target = (f"{around * 40}{letter}{around * 30}{letter}{around * 40}" for letter in (old, new))
    delta = create_text_delta(source.encode(), target.encode())
    assert delta is not None
    assert stock_json_apply(source, delta) == target
    assert len(delta) < 60


def test_an_ordinary_delta_may_cut_characters() -> None:
    """Which is why there is the other one."""
    source, target = f"{'x' * 40}ä{'y' * 40}", f"{'x' * 40}ö{'y' * 40}"
    with pytest.raises(UnicodeDecodeError):
        create_delta(source.encode(), target.encode()).decode()


def test_no_text_delta_for_what_is_no_text() -> None:
    assert create_text_delta(b"x" * 100, b"x" * 100 + b"\xff") is None
    assert create_text_delta(b"\xff" + b"x" * 100, b"x" * 100) is not None  # the source does not travel


@FEW
@given(st.binary(max_size=80) | st.integers(0, len(DELTA)).map(lambda cut: DELTA[:cut] + DELTA[cut + 1 :]), st.data())
def test_any_delta_is_applied_or_refused(delta: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(delta)))
    delta = delta[:at] + data.draw(st.sampled_from([b"", b"0", b"~~~~~~", b"@", b",", b":", b";", b"\n"])) + delta[at:]
    try:
        target = apply_delta(SOURCE, delta, 200)
    except ValueError:
        return
    assert len(target) <= 200
    assert stock.apply_delta(SOURCE, delta) == target


def test_a_delta_by_hand() -> None:
    assert apply_delta(b"abcdef", b"5\n3@2,2:XY2xP6LO;") == b"cdeXY"
    assert stock.apply_delta(b"abcdef", b"5\n3@2,2:XY2xP6LO;") == b"cdeXY"


@pytest.mark.parametrize(
    "delta",
    [
        b"",
        b"\n3@2,2:XY2xP6LO;",
        b"5",
        b"5\n",
        b"5\n3@2,2:XY",
        b"5\n3@2,2:X",
        b"5\n3@2,2:XY2xP6LO",
        b"5\n3@2,2:XY2xP6LO;;",
        b"5\n3@2,2:XY2xP6LP;",
        b"0000005\n3@2,2:XY2xP6LO;",
        b"4\n3@2,2:XY2xP6LO;",
        b"6\n3@2,2:XY2xP6LO;",
        b"5\n3@4,2:XY2xP6LO;",
        b"5\n3@22:XY2xP6LO;",
        b"5\n3@,2:XY2xP6LO;",
        b"5\n@2,2:XY2xP6LO;",
        b"5\n3!2,2:XY2xP6LO;",
        b"5\n3@2,2:XY\xfa2xP6LO;",
        b"5\n3@2,~~~~~~:XY2xP6LO;",
    ],
)
def test_a_malformed_delta_is_refused(delta: bytes) -> None:
    with pytest.raises(ValueError):
        apply_delta(b"abcdef", delta)


def test_no_more_is_made_than_the_delta_says() -> None:
    with pytest.raises(ValueError, match="longer"):
        apply_delta(bytes(1000), b"4\n4@0,1@0,0;")
    with pytest.raises(ValueError, match="than there are"):  # zeros are nothing to the checksum
        apply_delta(bytes(2), b"4\n4@0,0;")


def test_a_delta_for_another_source_is_refused() -> None:
    with pytest.raises(ValueError, match="checksum"):
        apply_delta(SOURCE.replace(b"AAPL", b"MSFT"), DELTA)


def test_a_target_may_be_as_large_as_allowed() -> None:
    target = apply_delta(SOURCE, DELTA)
    assert apply_delta(SOURCE, DELTA, len(target)) == target
    with pytest.raises(ValueError, match="at most"):
        apply_delta(SOURCE, DELTA, len(target) - 1)
