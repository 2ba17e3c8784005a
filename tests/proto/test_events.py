"""Session events: any batch comes back as it went; who may resume after which close."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proto import codes
from proto.events import EVENTS_VERSION, EventBatch, Opened, decode_batch, encode_batch, is_resumable
from tests.proto.strategies import structs


@settings(max_examples=100, deadline=None)
@given(structs(EventBatch))
def test_any_batch_comes_back(batch: EventBatch) -> None:
    assert decode_batch(encode_batch(batch)) == batch


@given(st.binary(max_size=60))
@example(b'{"edge":"\xff"}')
@example(b"[" * 100_000)
def test_any_bytes_are_a_batch_or_a_decode_error(data: bytes) -> None:
    """A reader of the log has one error to expect: a poisoned message must not stop it."""
    with pytest.raises(msgspec.DecodeError):
        decode_batch(data)


@pytest.mark.parametrize(
    "member",
    [
        '"number":9223372036854775808',
        '"number":0',
        '"events":[{"type":"opened","at":9223372036854775808,"connection":"c"}]',
        '"events":[{"type":"opened","at":-9223372036854775809,"connection":"c"}]',
        '"events":[{"type":"subscribed","at":1,"connection":"c","channel":"x","offset":9223372036854775808}]',
        '"version":0',
        '"version":1001',
    ],
)
def test_a_number_that_no_column_holds_makes_no_batch(member: str) -> None:
    """The last of a name counts."""
    with pytest.raises(msgspec.DecodeError, match=r"Expected `int` [<>]="):
        decode_batch(b'{"edge":"e","instance":"i","number":1,"events":[],' + member.encode() + b"}")


def test_the_id_of_a_message_fits_into_a_header_whatever_its_instance() -> None:
    assert EventBatch("e", "a\r\nX: é", 7, []).message_id.isprintable()
    assert EventBatch("e", "watch-0123abcdef", 7, []).message_id == "watch-0123abcdef-7"


def test_a_batch_says_its_version() -> None:
    assert f'"version":{EVENTS_VERSION}'.encode() in encode_batch(EventBatch("e", "i", 1, []))


def test_every_attempt_to_store_a_batch_has_one_message_id() -> None:
    first, again = EventBatch("e", "i", 7, [Opened(1, "c")]), EventBatch("e", "i", 7, [])
    assert first.message_id == again.message_id
    assert len({first.message_id, EventBatch("e", "i", 8, []).message_id, EventBatch("e", "j", 7, []).message_id}) == 3


@pytest.mark.parametrize("code", [1001, 1006, 1009, 3005, 3012, 4000, 4499])
def test_a_session_goes_on_where_the_client_comes_back(code: int) -> None:
    assert is_resumable(code)


@pytest.mark.parametrize("code", [1000, 1005, 3500, 3501, 3999, 4500, 4999])
def test_a_session_ends_where_the_client_said_goodbye_or_stays_away(code: int) -> None:
    assert not is_resumable(code)


def test_sessions_and_sdks_agree_on_who_comes_back() -> None:
    for close in vars(codes).values():
        if isinstance(close, codes.CloseCode) and close is not codes.NORMAL:
            assert is_resumable(close.code) is close.reconnect
