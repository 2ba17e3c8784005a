"""What is logged of calls that fail: which call, about whom, by whom, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from proto import codes
from services.edge.rejection import Rejected
from services.edge.server_api.call_failures import CallFailures, Origin
from tests.edge.server_api.test_methods import ORIGIN, Api
from tests.support.cluster import EdgeCluster, TestEdge

DENIED = Rejected(codes.BAD_REQUEST, "expected a channel")


class Lines:
    def __init__(self) -> None:
        self.written: list[tuple[str, str, Mapping[str, object]]] = []

    def write(self, what: str, why: str, fields: Mapping[str, object], *, kind: str) -> None:
        self.written.append((kind, why, fields))


@pytest.fixture
async def api() -> Api:
    return Api(await TestEdge(EdgeCluster()).start())


async def test_a_failed_call_is_found_by_its_user_its_channel_and_its_key(api: Api) -> None:
    assert await api.error("subscribe", user="alice", channel="none:x") == 102
    ((what, why, fields),) = api.told
    assert what == "a call of the server API failed"
    assert why == "unknown channel: its namespace is not configured"
    assert fields == {
        "user": "alice",
        "channel": "none:x",
        "code": 102,
        "address": "192.0.2.1",
        "method": "subscribe",
        "key": "tests",
        "transport": "http",
    }


async def test_each_failure_inside_of_one_call_is_one(api: Api) -> None:
    await api.answer("broadcast", channels=["none:a", "chat:x", "none:b"], data=1)
    commands = [{"publish": {"channel": "none:c", "data": 1}}, {"publish": {"channel": "chat:x", "data": 1}}, {}]
    await api.answer("batch", commands=commands)
    told = [(fields["method"], fields.get("channel")) for _, _, fields in api.told]
    assert told == [("broadcast", "none:a"), ("broadcast", "none:b"), ("publish", "none:c"), ("batch", None)]


async def test_a_call_that_succeeds_is_not_told(api: Api) -> None:
    await api.answer("publish", channel="chat:x", data=1)
    assert api.told == []


def test_what_the_caller_did_not_cause_or_does_not_learn_is_logged_even_if_the_rest_is_not() -> None:
    lines = Lines()
    failures = CallFailures(lines.write, all=False)
    failures.failed("publish", DENIED, ORIGIN)
    failures.refused("publish", 401, "expected the API key", ORIGIN)
    assert lines.written == []
    failures.failed("publish", Rejected(codes.INTERNAL, hint="NATS is away"), ORIGIN)
    failures.failed("publish", DENIED, Origin("nats", answered=False))
    assert [why for _, why, _ in lines.written] == [
        "internal server error: NATS is away",
        "bad request: expected a channel",
    ]


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[]", b'{"channel": 7, "user": {}}', b"x" * 100_000, b'{"user":null}']
)
def test_any_body_can_fail(body: bytes) -> None:
    lines = Lines()
    CallFailures(lines.write).failed("publish", DENIED, ORIGIN, body)
    ((_, _, fields),) = lines.written
    assert not {"channel", "user"} & fields.keys()


def test_strangers_make_no_kinds_of_their_own() -> None:
    lines = Lines()
    for method in ("a", "b", "c" * 1000):
        CallFailures(lines.write).refused(method, 401, "expected the API key", ORIGIN)
    assert len({what for what, _, _ in lines.written}) == 1
    assert json.dumps([dict(fields) for _, _, fields in lines.written])


async def test_the_answer_says_nothing_of_what_the_log_says_for_operators(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer: Any = await api.answer("publish", channel="none:x", data=1)
    assert answer == {"error": {"code": 102, "message": "unknown channel"}}
