"""The questions that edges ask each other: any question and any answer comes back as it went."""

from __future__ import annotations

import typing

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proto import control
from proto.control import decode_answer, decode_request, encode_answer, encode_request
from tests.proto.strategies import structs

REQUESTS = typing.get_args(control.ControlRequest)
STRUCTURED = [kind for kind in REQUESTS if kind is not control.Emulate]
ANSWERS = typing.get_args(control.ControlAnswer)


@settings(max_examples=200, deadline=None)
@given(st.one_of(*map(structs, STRUCTURED)) | st.builds(control.Emulate, st.text(max_size=12), st.binary(max_size=60)))
def test_any_request_comes_back(request: control.ControlRequest) -> None:
    assert decode_request(encode_request(request)) == request


@settings(max_examples=200, deadline=None)
@given(st.one_of(*map(structs, ANSWERS)))
def test_any_answer_comes_back(answer: control.ControlAnswer) -> None:
    assert decode_answer(encode_answer(answer)) == answer


@given(st.binary(max_size=60))
@example(b"{}")
@example(b'{"ask":"tea"}')
@example(b'{"ask":"members"}')
@example(b'{"answer":"tea"}')
@example(b'{"ask":"emulate","session":"s","data":"no base64"}')
@example(b'{"ask":"\xff"}')
@example(b"[" * 100_000)
def test_any_other_bytes_are_a_decode_error(data: bytes) -> None:
    for decode in (decode_request, decode_answer):
        with pytest.raises(msgspec.DecodeError):
            decode(data)


def test_fields_of_a_newer_version_are_skipped() -> None:
    assert decode_request(b'{"ask":"members","channel":"x","since":17}') == control.Members("x")
    assert decode_answer(b'{"answer":"done","count":2,"at":17}') == control.Done(2)


def test_every_kind_can_be_told_apart() -> None:
    for kinds, base in ((REQUESTS, control.Request), (ANSWERS, control.Answer)):
        assert len({kind.__struct_config__.tag for kind in kinds}) == len(kinds)
        assert set(kinds) == set(base.__subclasses__())
