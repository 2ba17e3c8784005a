"""Publications as NATS messages (their golden bytes are in test_vectors)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from proto.messages import ClientInfo, Publication
from proto.publications import BadPublication, decode_live, decode_publication, encode_headers
from tests.proto.strategies import structs

FEW = settings(max_examples=100, deadline=None)
ids = st.text(alphabet="abc0129.-_=", max_size=20)


@FEW
@given(structs(Publication), ids)
def test_any_publication_comes_back(publication: Publication, message_id: str) -> None:
    headers = encode_headers(publication, message_id)
    back = decode_publication(headers, bytes(publication.data), publication.offset)
    assert back == msgspec.structs.replace(publication, tags=publication.tags or None)


@FEW
@given(structs(Publication), ids)
def test_headers_are_one_well_formed_block(publication: Publication, message_id: str) -> None:
    headers = encode_headers(publication, message_id)
    if headers is None:
        assert publication.info is None
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


def test_info_without_user_and_client_stays_without_them() -> None:
    publication = Publication(data=Raw(b"1"), info=ClientInfo())
    info = decode_publication(encode_headers(publication), b"1").info
    assert info is not None
    assert info.user is UNSET


@pytest.mark.parametrize("data", [b"", b"hello", b"{", b"1 2"])
def test_a_place_without_a_publication_still_counts(data: bytes) -> None:
    live = decode_live(b"NATS/1.0\r\nNats-Sequence: 9\r\nNats-Last-Sequence: 4\r\n\r\n", data)
    assert live == (9, 4, None)
