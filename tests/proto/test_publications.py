"""Publications as NATS messages (their golden bytes are in test_vectors)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from proto.messages import ClientInfo, Publication
from proto.publications import (
    BadPublication,
    LiveMessage,
    Version,
    decode_live,
    decode_publication,
    encode_headers,
    encode_removal,
    published_at,
    removed_upto,
    version_of,
)
from tests.proto.strategies import ANY_PAYLOADS, structs
from tests.proto.vectors import load, name_of, wire_bytes

FEW = settings(max_examples=100, deadline=None)
ids = st.text(alphabet="abc0129.-_=", max_size=20)


numbers = st.integers(1, 2**63 - 1)
versions = st.none() | st.builds(Version, numbers, ids)
payloads = st.sampled_from(ANY_PAYLOADS)
publications = st.tuples(structs(Publication), payloads).map(
    lambda pair: msgspec.structs.replace(pair[0], data=pair[1])
)


@FEW
@given(publications, ids, versions)
def test_any_publication_comes_back(publication: Publication, message_id: str, version: Version | None) -> None:
    """But for `delta`, which is between an edge and its client."""
    headers = encode_headers(publication, message_id, version)
    back = decode_publication(headers, bytes(publication.data), publication.offset)
    assert back == msgspec.structs.replace(publication, tags=publication.tags or None, delta=False)
    assert version_of(headers) == version
    assert removed_upto(headers) == 0


@FEW
@given(structs(Publication), ids, versions)
def test_headers_are_one_well_formed_block(publication: Publication, message_id: str, version: Version | None) -> None:
    headers = encode_headers(publication, message_id, version)
    if headers is None:
        assert publication.info is None
        assert version is None
        assert not publication.tags
        assert not message_id
        return
    first, *lines = headers.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert first == b"NATS/1.0"
    assert all(b": " in line and b"\n" not in line and b"\r" not in line for line in lines)


@FEW
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_message_is_taken_or_refused(headers: bytes, data: bytes) -> None:
    for block in (headers, b"NATS/1.0\r\nNats-Sequence:" + headers + b"\r\nNats-Last-Sequence:" + headers):
        try:
            live = decode_live(block, data)
        except BadPublication:
            continue
        assert live.sequence == live.previous
        assert version_of(block) is None


@FEW
@given(publications, ids, st.floats(1e9, 4e9))
def test_the_time_of_a_publication_comes_back(publication: Publication, message_id: str, at: float) -> None:
    headers = encode_headers(publication, message_id, at=at)
    assert decode_publication(headers, bytes(publication.data)).info == publication.info
    assert abs(published_at(headers) - at) < 2e-6


STORED_AT = (
    b"NATS/1.0\r\nNats-Sequence: 9\r\nNats-Time-Stamp: 2026-01-01T00:00:00.123456789Z\r\nNats-Last-Sequence: 4\r\n\r\n"
)


def test_a_publication_straight_from_nats_counts_from_when_it_was_stored() -> None:
    assert decode_live(STORED_AT, b"1").published_at == 1767225600.123456
    ours = STORED_AT.replace(b"NATS/1.0", b"NATS/1.0\r\nFairlead-At: 1767225599000000")
    assert decode_live(ours, b"1").published_at == 1767225599.0


@pytest.mark.parametrize("time", [b"", b"x", b"-5", b"0", b"9" * 40, b"1e9", b"2026-13-01T00:00:00Z"])
def test_a_time_that_is_none_is_unknown(time: bytes) -> None:
    for name in (b"Fairlead-At", b"Nats-Time-Stamp"):
        block = b"NATS/1.0\r\n" + name + b": " + time + b"\r\n\r\n"
        assert published_at(block) == 0.0
        assert decode_live(block, b"1").publication == Publication(Raw(b"1"))
    assert published_at(None) == 0.0


def test_info_without_user_and_client_stays_without_them() -> None:
    publication = Publication(data=Raw(b"1"), info=ClientInfo())
    info = decode_publication(encode_headers(publication), b"1").info
    assert info is not None
    assert info.user is UNSET


REPUBLISHED = b"NATS/1.0\r\nNats-Sequence: 9\r\nNats-Last-Sequence: 4\r\n\r\n"


@pytest.mark.parametrize("data", [b"hello", b"{", b"1 2", b"\xff\x00\n"])
def test_a_payload_need_not_be_json(data: bytes) -> None:
    assert decode_live(REPUBLISHED, data) == LiveMessage(9, 4, Publication(Raw(data), offset=9))


def test_a_place_without_a_publication_still_counts() -> None:
    assert decode_live(REPUBLISHED, b"") == LiveMessage(9, 4, None)
    broken = REPUBLISHED.replace(b"NATS/1.0", b"NATS/1.0\r\nFairlead-Info: {")
    assert decode_live(broken, b"1") == LiveMessage(9, 4, None)


@pytest.mark.parametrize("case", load("publications.json", "live"), ids=name_of)
def test_the_mark_of_a_removal_is_told_from_everything_else(case: dict[str, Any]) -> None:
    headers = None if case["headers"] is None else wire_bytes(case, "headers")
    assert decode_live(headers, wire_bytes(case, "body")).removed_upto == case.get("removed_upto", 0)


@pytest.mark.parametrize("case", load("publications.json", "removals"), ids=name_of)
def test_marks(case: dict[str, Any]) -> None:
    assert encode_removal(case["upto"]) == wire_bytes(case, "headers")
    assert removed_upto(wire_bytes(case, "headers")) == case["upto"]


@pytest.mark.parametrize("case", load("publications.json", "versions"), ids=name_of)
def test_versions(case: dict[str, Any]) -> None:
    version = Version(case["number"], case["epoch"])
    assert encode_headers(Publication(Raw(b"1")), version=version) == wire_bytes(case, "headers")
    assert version_of(wire_bytes(case, "headers")) == version


@pytest.mark.parametrize("number", ["", "x", "-1", "0", "1.5", "9" * 20])
def test_a_version_that_is_no_number_is_none(number: str) -> None:
    assert version_of(f"NATS/1.0\r\nFairlead-Version: {number}\r\n\r\n".encode()) is None


@pytest.mark.parametrize(
    ("version", "newest", "is_newer"),
    [
        (Version(1), None, True),
        (Version(2), Version(1), True),
        (Version(1), Version(1), False),
        (Version(1), Version(2), False),
        (Version(1, "a"), Version(2, "b"), True),
        (Version(1), Version(2, "b"), True),
    ],
)
def test_a_version_counts_within_its_epoch(version: Version, newest: Version | None, is_newer: bool) -> None:
    assert version.is_newer_than(newest) is is_newer


# --- what others than edges publish on NATS -----------------------------------------------------------------------


def headers_with(name: str, value: bytes) -> bytes:
    return b"NATS/1.0\r\n%s: %s\r\n\r\n" % (name.encode(), value)


@pytest.mark.parametrize("part", ["conn_info", "chan_info"])
@pytest.mark.parametrize("value", [b"[" * 129 + b"]" * 129, b"[" * 2000 + b"]" * 2000, b'"\xff"', b"[1"])
def test_info_that_a_json_client_could_not_take_makes_no_publication(part: str, value: bytes) -> None:
    info = b'{"user":"7","%s":%s}' % (part.encode(), value)
    with pytest.raises(BadPublication):
        decode_publication(headers_with("Fairlead-Info", info), b"1")


def test_a_line_break_in_info_does_not_break_a_line_of_a_client() -> None:
    info = decode_publication(headers_with("Fairlead-Info", b'{"user":"7",\n"conn_info":{"a":\n1}}'), b"1").info
    assert info is not None and bytes(info.conn_info) == b'{"a":1}'


def test_half_of_an_emoji_is_kept_in_info_and_replaced_in_tags_and_names() -> None:
    info = headers_with("Fairlead-Info", rb'{"user":"7\ud83d","conn_info":"\ud83d"}')
    assert decode_publication(info, b"1").info == ClientInfo(user="7\ufffd", conn_info=Raw(rb'"\ud83d"'))
    assert decode_publication(headers_with("Fairlead-Tags", rb'{"t":"\ud83d"}'), b"1").tags == {"t": "\ufffd"}
