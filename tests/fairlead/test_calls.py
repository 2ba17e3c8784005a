"""The calls of applications: what is sent, what an answer means, and when a call is made again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead import BadAnswer, CallRefused, Member, Position, Unavailable
from fairlead.calls import (
    ATTEMPT_S,
    Attempts,
    answer_of,
    broadcast_call,
    other_call,
    presence_call,
    publish_call,
)

PUBLISH = publish_call("chat:x", {"n": 1}, None, "", False)
PRESENCE = presence_call("chat:x")
DISCONNECT = other_call("disconnect", {"user": "alice"}, repeatable=False)


def body(**call: Any) -> Any:
    asked = {"channel": "chat:x", "data": 1, "tags": None, "idempotency_key": "", "skip_history": False, **call}
    return json.loads(publish_call(**asked).body)


def test_a_publish_always_has_a_key_so_that_it_can_be_repeated():
    first, second = body(), body()
    assert first["idempotency_key"] and first["idempotency_key"] != second["idempotency_key"]
    assert body(idempotency_key="row 7")["idempotency_key"] == "row 7"


def test_a_publish_says_what_the_application_said():
    everything = body(data={"text": "zoë"}, tags={"kind": "chat"}, idempotency_key="k", skip_history=True)
    assert everything == {
        "channel": "chat:x",
        "data": {"text": "zoë"},
        "tags": {"kind": "chat"},
        "idempotency_key": "k",
        "skip_history": True,
    }
    assert body(data=b"\x01\xff", idempotency_key="k") == {
        "channel": "chat:x",
        "b64data": "Af8=",
        "idempotency_key": "k",
    }
    assert body(data=0)["data"] == 0 and body(data=False)["data"] is False


@pytest.mark.parametrize("data", [None, float("nan"), float("inf")])
def test_what_is_no_data_is_refused_before_it_is_sent(data):
    with pytest.raises(ValueError):
        body(data=data)


def test_answers():
    assert answer_of(PUBLISH, b'{"result":{"offset":7,"epoch":"e"}}') == Position(7, "e")
    assert answer_of(PUBLISH, b'{"result":{}}') == Position()
    assert answer_of(DISCONNECT, b'{"result":{}}') == {}
    members = b'{"result":{"presence":{"c1":{"user":"alice","client":"c1","conn_info":{"name":"Alice"}}}}}'
    assert answer_of(PRESENCE, members) == [Member("c1", "alice", {"name": "Alice"})]


def test_a_broadcast_has_an_outcome_for_each_channel():
    call = broadcast_call(["a", "nope:b"], 1, None, "", False)
    answered = (
        b'{"result":{"responses":[{"result":{"offset":1,"epoch":"e"}},{"error":{"code":102,"message":"unknown"}}]}}'
    )
    first, second = answer_of(call, answered)
    assert first == Position(1, "e")
    assert isinstance(second, CallRefused) and (second.code, second.message) == (102, "unknown")
    with pytest.raises(Unavailable):
        answer_of(call, b'{"result":{"responses":[{"result":{}},{"error":{"code":100,"message":"internal"}}]}}')


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, b'{"error":{"code":100,"message":"internal server error"}}'),
        (200, b'{"error":{"code":111,"message":"too many requests"}}'),
        (502, b"<html>Bad Gateway</html>"),
        (503, b""),
        (504, b"Gateway Timeout"),
        (429, b'{"error":{"code":429,"message":"slow down"}}'),
    ],
)
def test_what_passes_by_itself_is_unavailable(status, answer):
    with pytest.raises(Unavailable):
        answer_of(PUBLISH, answer, status)


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (200, b'{"error":{"code":102,"message":"unknown channel"}}', 102),
        (401, b'{"error":{"code":401,"message":"expected a key"}}', 401),
        (500, b'{"error":{"code":"E1","message":"odd"}}', 500),
    ],
)
def test_what_stays_so_is_refused(status, answer, code):
    with pytest.raises(CallRefused) as refused:
        answer_of(PUBLISH, answer, status)
    assert refused.value.code == code and refused.value.method == "publish"


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, b"<html>hello</html>"),
        (302, b""),
        (404, b"Not Found"),
        (200, b"[]"),
        (200, b'{"result":'),
        (200, b'{"result":null}'),
        (200, b"{}"),
        (200, b'{"error":"odd"}'),
        (200, b"\xff\xfe"),
    ],
)
def test_what_is_no_answer_of_an_edge_is_said_to_be_none(status, answer):
    with pytest.raises(BadAnswer):
        answer_of(PUBLISH, answer, status)


AWAY = Unavailable("away")


def test_a_call_is_repeated_while_there_is_time_and_then_its_failure_is_raised():
    attempts, now, pauses = Attempts(PUBLISH, 5, 100.0), 100.0, []
    with pytest.raises(Unavailable) as raised:
        while True:
            pauses.append(attempts.pause_s(AWAY, now, 1.0))
            now += pauses[-1]
    assert raised.value is AWAY
    assert pauses[:5] == [0.05, 0.1, 0.2, 0.4, 0.8] and max(pauses) == 1.0
    assert 103 < now < 105


def test_clients_that_failed_together_do_not_come_back_together():
    assert Attempts(PUBLISH, 5, 0).pause_s(AWAY, 0, 0.0) == 0.025


def test_an_attempt_of_a_call_that_may_be_repeated_leaves_time_for_another():
    assert Attempts(PUBLISH, 5, 100).timeout_s(101) == ATTEMPT_S
    assert Attempts(PUBLISH, 5, 100).timeout_s(104.5) == 0.5
    assert Attempts(DISCONNECT, 5, 100).timeout_s(101) == 4
    assert 0 < Attempts(PUBLISH, 5, 100).timeout_s(106) < 0.01


@pytest.mark.parametrize(("call", "failure"), [(DISCONNECT, AWAY), (PUBLISH, CallRefused("publish", 102, ""))])
def test_what_repeating_could_harm_or_not_help_is_not_repeated(call, failure):
    with pytest.raises(type(failure)):
        Attempts(call, 5, 0).pause_s(failure, 0, 0.5)
