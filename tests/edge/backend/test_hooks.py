from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from proto.codec import payload
from proto.codes import CloseCode, ErrorCode
from proto.commands import ConnectRequest
from services.edge.arrival import Arrival
from services.edge.backend import hook_answers, hook_questions
from services.edge.backend.backend import BadAnswer, Caller
from services.edge.backend.hook_answers import connect_answer, publish_answer, refresh_answer, subscribe_answer
from services.edge.backend.hook_results import (
    Accepted,
    Admitted,
    Disconnected,
    Expired,
    Extended,
    Refused,
    Unauthenticated,
)
from services.edge.grants import Grant, Override, Switch

DECODERS: list[Callable[[bytes], object]] = [connect_answer, subscribe_answer, publish_answer, refresh_answer]
every_hook = pytest.mark.parametrize("decode", DECODERS)

ALICE = Caller("alice", "c1", meta=Raw(b'{"role":"admin"}'), transport="sse", encoding="json")
BINARY = Caller("alice", "c1", encoding="protobuf")
COMMON = {"client": "c1", "transport": "sse", "protocol": "json", "encoding": "json"}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def answer(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def result(**fields: Any) -> bytes:
    return answer(result=fields)


# --- questions --------------------------------------------------------------------------------------------------------


def test_the_connect_question_tells_what_the_client_said_and_no_user_before_there_is_one():
    request = ConnectRequest(data=Raw(b'{"a": 1}'), name="js", version="5", headers={"x": "y"}, token="secret")
    anonymous = Caller(client="c1", transport="sse")
    told = {**COMMON, "data": {"a": 1}, "name": "js", "version": "5", "headers": {"x": "y"}}
    assert json.loads(hook_questions.connect_question(anonymous, request)) == told
    of_a_token = json.loads(hook_questions.connect_question(ALICE, request))
    assert of_a_token == {**told, "user": "alice", "meta": {"role": "admin"}}
    assert json.loads(hook_questions.connect_question(anonymous, ConnectRequest())) == COMMON


def test_the_connect_question_tells_from_where_the_client_comes_unless_the_form_is_centrifugo_s():
    came = Arrival("2001:db8::1", "https://a.example", "Mozilla/5.0", {"cookie": "secret"})
    caller, request = Caller(client="c1", transport="sse", arrival=came), ConnectRequest()
    told = {**COMMON, "address": "2001:db8::1", "origin": "https://a.example", "user_agent": "Mozilla/5.0"}
    assert json.loads(hook_questions.connect_question(caller, request)) == told
    form = hook_questions.QuestionForm(arrival=False)
    assert json.loads(hook_questions.connect_question(caller, request, form)) == COMMON
    assert "address" not in json.loads(hook_questions.refresh_question(caller))


def test_the_other_questions_always_have_user_and_channel():
    told = {**COMMON, "user": "alice", "meta": {"role": "admin"}}
    assert json.loads(hook_questions.refresh_question(ALICE)) == told
    told["channel"] = "chat:a"
    assert json.loads(hook_questions.subscribe_question(ALICE, "chat:a", b"")) == told
    told["data"] = "hi"
    assert json.loads(hook_questions.subscribe_question(ALICE, "chat:a", b'"hi"')) == told
    assert json.loads(hook_questions.publish_question(ALICE, "chat:a", b'"hi"')) == told
    assert json.loads(hook_questions.publish_question(Caller(), "x", b"1"))["user"] == ""


def test_data_is_embedded_as_it_is():
    assert b'"data":{"n": 1e999, "b":12345678901234567890123}' in hook_questions.publish_question(
        ALICE, "x", b'{"n": 1e999, "b":12345678901234567890123}'
    )


@pytest.mark.parametrize("data", [b"\xff\x00", b"text", b"{", b'"\xff"'])
def test_data_that_is_not_json_travels_in_base64(data):
    for question in (
        hook_questions.publish_question(BINARY, "x", data),
        hook_questions.subscribe_question(BINARY, "x", data),
        hook_questions.connect_question(BINARY, ConnectRequest(data=Raw(data))),
    ):
        told = json.loads(question)
        assert "data" not in told and base64.b64decode(told["b64data"]) == data
        assert (told["protocol"], told["encoding"]) == ("protobuf", "binary")


def test_half_of_an_emoji_is_json_and_is_told_as_it_is():
    for question in (
        hook_questions.publish_question(ALICE, "x", b'"\\ud800"'),
        hook_questions.connect_question(BINARY, ConnectRequest(data=Raw(b'"\\ud800"'))),
    ):
        assert b'"data":"\\ud800"' in question and b"b64data" not in question
    assert publish_answer(b'{"result":{"data":["\\ud800"]}}') == Accepted(b'["\\ud800"]')


# --- answers ----------------------------------------------------------------------------------------------------------


def test_connect_may_be_allowed_with_everything():
    verdict = connect_answer(
        result(
            user="alice",
            expire_at=1700000000,
            info={"name": "Alice"},
            data=[1, "é"],
            meta={"role": "admin"},
            channels=["news", "chat:a"],
            subs={
                "chat:a": {"info": 1, "b64data": b64(b'"x"'), "expire_at": 5, "override": {"presence": {"value": True}}}
            },
        )
    )
    assert isinstance(verdict, Admitted)
    assert (verdict.user, verdict.expires_at) == ("alice", 1700000000)
    assert (bytes(verdict.info), bytes(verdict.meta)) == (b'{"name": "Alice"}', b'{"role": "admin"}')
    assert json.loads(bytes(verdict.data)) == [1, "é"]
    assert list(verdict.subs) == ["news", "chat:a"]
    assert verdict.subs["news"] == Grant()
    grant = verdict.subs["chat:a"]
    assert (bytes(grant.info), bytes(grant.data), grant.expires_at) == (b"1", b'"x"', 5)
    assert grant.override == Override(presence=Switch(True))


def test_every_field_of_a_result_may_be_left_out_or_null():
    assert connect_answer(result()) == Admitted()
    assert subscribe_answer(result()) == Grant()
    assert publish_answer(result()) == Accepted()
    assert refresh_answer(result()) == Extended()
    for decode, structure, empty in (
        (connect_answer, hook_answers._ConnectResult, Admitted()),
        (subscribe_answer, hook_answers._SubscribeResult, Grant()),
        (publish_answer, hook_answers._PublishResult, Accepted()),
        (refresh_answer, hook_answers._RefreshResult, Extended()),
    ):
        nulls = {name: None for name in structure.__struct_fields__}
        assert decode(answer(result=nulls, error=None, disconnect=None)) == empty


def test_without_a_result_connect_goes_on_as_without_a_hook_and_nothing_else_is_allowed():
    for nothing in (answer(), answer(result=None), answer(reslut={})):
        assert connect_answer(nothing) == Unauthenticated()
        for decode in (subscribe_answer, publish_answer, refresh_answer):
            with pytest.raises(BadAnswer):
                decode(nothing)


def test_subscribe_may_be_allowed_on_its_own_terms():
    switches = {name: {"value": False} for name in Override.__struct_fields__}
    grant = subscribe_answer(result(b64info=b64(b'{"a":\n1}'), data="hi", expire_at=12.9, override=switches))
    assert isinstance(grant, Grant)
    assert (bytes(grant.info), bytes(grant.data), grant.expires_at) == (b'{"a":1}', b'"hi"', 13), (
        "not before the time that the backend says"
    )
    assert grant.override == Override(*(Switch(False) for _ in switches))


def test_publish_may_replace_what_is_published_by_any_bytes():
    assert publish_answer(result(data={"b": 1})) == Accepted(data=b'{"b": 1}')
    assert publish_answer(result(b64data=b64(b"\xff\n"))) == Accepted(data=b"\xff\n")
    assert publish_answer(result(skip_history=True, tags={"k": "v"})) == Accepted(None, True, {"k": "v"})


def test_refresh_may_prolong_or_end():
    assert refresh_answer(result(expired=True, expire_at=7)) == Expired()
    prolonged = refresh_answer(result(expire_at=7, info="new", meta=[1]))
    assert isinstance(prolonged, Extended)
    assert (prolonged.expires_at, bytes(prolonged.info), bytes(prolonged.meta)) == (7, b'"new"', b"[1]")


@every_hook
def test_every_hook_may_refuse(decode):
    error = {"code": 403, "message": "not yours", "temporary": True}
    assert decode(answer(error=error)) == Refused(ErrorCode(403, "not yours", True))
    assert decode(answer(error={"code": 100})) == Refused(ErrorCode(100, "error", False))
    assert decode(answer(error={"code": 1999, "message": "x" * 999})) == Refused(ErrorCode(1999, "x" * 256))
    assert decode(answer(error=error, result={})) == Refused(ErrorCode(403, "not yours", True)), "a no outweighs a yes"


@every_hook
def test_every_hook_may_disconnect(decode):
    assert decode(answer(disconnect={"code": 4501, "reason": "banned"})) == Disconnected(CloseCode(4501, "banned"))
    assert decode(answer(disconnect={"code": 3500, "reason": "é" * 61})) == Disconnected(CloseCode(3500, "é" * 61))
    for no_reason in ({}, {"reason": ""}, {"reason": None}):
        end = {"code": 4000, **no_reason}
        assert decode(answer(disconnect=end)) == Disconnected(CloseCode(4000, "disconnected"))
    both = answer(error={"code": 403}, disconnect={"code": 4000, "reason": "x"})
    assert decode(both) == Disconnected(CloseCode(4000, "x"))


@every_hook
@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"result": []}',
        b"\xff",
        b'{"result": {}} x',
        b"[" * 100_000,
        b'{"result": {"info": ' + b"[" * 100_000,
        b'{"unknown": ' + b"[" * 100_000,
        *(answer(error=error) for error in ({}, {"code": "403"}, {"code": 99}, {"code": 2000}, {"code": True}, "no")),
        *(answer(error={"code": 400, "message": 1}), answer(error={"code": 10**100})),
        *(answer(disconnect={"code": code, "reason": "x"}) for code in (0, 1000, 3000, 5000, -1, 10**30, "4000")),
        *(
            answer(disconnect={"code": 4000, "reason": reason})
            for reason in ("x" * 124, "é" * 62, "1", " true ", "{}", '"x"', "[1]", '"\\ud800"', "-0", "1e5")
        ),
        b'{"disconnect": {"code": 4000, "reason": "\\ud800"}}',
        b'{"error": {"code": 400, "message": "\xff"}}',
        b'{"disconnect": {"code": 4000, "reason": "\xff"}}',
        answer(result={}, error={}),
        answer(result={}, disconnect={}),
    ],
)
def test_every_hook_refuses_an_unusable_answer(decode, bad):
    with pytest.raises(BadAnswer):
        decode(bad)


NO_TIMES: list[object] = [-1, "soon", 2**53, 10**400, True, []]


@pytest.mark.parametrize(
    ("decode", "fields"),
    [
        *(
            (decode, {"expire_at": when})
            for decode in (connect_answer, subscribe_answer, refresh_answer)
            for when in NO_TIMES
        ),
        *(
            (decode, {"b64info": info})
            for decode in (connect_answer, subscribe_answer, refresh_answer)
            for info in ("?", "e30", b64(b"{"), b64(b"\xff"), b64(b'"\xff"'), 1, " ")
        ),
        *((decode, {"b64data": b64(b"\xff")}) for decode in (connect_answer, subscribe_answer)),
        (publish_answer, {"b64data": "?"}),
        (publish_answer, {"b64data": "\u00e9"}),
        (publish_answer, {"tags": {"k": 1}}),
        (publish_answer, {"tags": ["k"]}),
        (publish_answer, {"skip_history": "yes"}),
        (refresh_answer, {"expired": 1}),
        (subscribe_answer, {"override": {"presence": True}}),
        (subscribe_answer, {"override": []}),
        (connect_answer, {"user": 7}),
        (connect_answer, {"channels": "news"}),
        (connect_answer, {"channels": [""]}),
        (connect_answer, {"channels": [1]}),
        (connect_answer, {"subs": {"": {}}}),
        (connect_answer, {"subs": {"x": {"expire_at": -1}}}),
        (connect_answer, {"subs": {"x": None}}),
        (connect_answer, {"channels": [f"c{number}" for number in range(1001)]}),
        (connect_answer, {"channels": ["a"], "subs": {f"c{number}": {} for number in range(1000)}}),
    ],
)
def test_an_unusable_result_is_refused(decode, fields):
    with pytest.raises(BadAnswer):
        decode(result(**fields))


@pytest.mark.parametrize("field", ["info", "data", "meta"])
def test_embedded_json_must_be_utf_8(field):
    with pytest.raises(BadAnswer):
        connect_answer(b'{"result": {"%s": "\xff"}}' % field.encode())


def test_a_thousand_channels_are_taken():
    verdict = connect_answer(result(channels=[f"c{number}" for number in range(1000)], subs={"c0": {}, "c1": {}}))
    assert isinstance(verdict, Admitted) and len(verdict.subs) == 1000


# --- any answer of a backend ------------------------------------------------------------------------------------------

VERDICTS = (Admitted, Unauthenticated, Grant, Accepted, Extended, Expired, Refused, Disconnected)
names = sorted(
    {
        name
        for structure in (
            hook_answers._ConnectResult,
            hook_answers._PublishResult,
            hook_answers._RefreshResult,
            hook_answers._Error,
            Override,
        )
        for name in structure.__struct_fields__
    }
    | {"reason", "value", "result", "error", "disconnect", "override"}
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-10, 5000)
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=10)
    | st.binary(max_size=6).map(b64)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(names) | st.text(), inner, max_size=6),
    max_leaves=30,
)
objects = st.dictionaries(st.sampled_from(names), values, max_size=8)
plausible = st.fixed_dictionaries(
    {},
    optional={
        "result": objects | values,
        "error": st.fixed_dictionaries({"code": st.integers(90, 2010)}, optional={"message": st.text()}) | values,
        "disconnect": st.fixed_dictionaries({"code": st.integers(2990, 5010), "reason": st.text()}) | values,
    },
)


def check(decode: Callable[[bytes], object], data: bytes) -> None:
    try:
        verdict = decode(data)
    except BadAnswer:
        return
    assert isinstance(verdict, VERDICTS)
    if isinstance(verdict, Refused):
        assert 100 <= verdict.error.code <= 1999 and verdict.error.message
    if isinstance(verdict, Disconnected):
        assert 3000 < verdict.close.code < 5000 and 1 <= len(verdict.close.reason.encode()) <= 123
        with pytest.raises(ValueError):
            json.loads(verdict.close.reason)
    if isinstance(verdict, Admitted | Grant | Extended):
        assert 0 <= verdict.expires_at < 2**53
        for raw in (verdict.info, *([] if isinstance(verdict, Extended) else [verdict.data])):
            assert bytes(raw) == (bytes(payload(bytes(raw))) if bytes(raw) else b"")


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_verdict_or_a_bad_answer(data):
    for decode in DECODERS:
        check(decode, data)


@given(value=plausible | values)
def test_any_json_is_a_verdict_or_a_bad_answer(value):
    data = json.dumps(value).encode()
    for decode in DECODERS:
        check(decode, data)
        check(decode, data[: len(data) // 2])


@given(result=objects, cut=st.integers(0, 60), byte=st.integers(0, 255))
def test_any_damage_is_a_verdict_or_a_bad_answer(result, cut, byte):
    data = bytearray(json.dumps({"result": result}).encode())
    data[min(cut, len(data) - 1)] = byte
    for decode in DECODERS:
        check(decode, bytes(data))
