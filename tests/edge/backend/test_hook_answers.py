"""What an answer may say beyond yes: bytes for Protobuf clients, versions, caches; and what is refused by name."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from msgspec import Raw

from proto.publications import Version
from services.edge.backend.backend import BadAnswer
from services.edge.backend.hook_answers import connect_answer, publish_answer, rpc_answer, subscribe_answer
from services.edge.backend.hook_results import Accepted, Admitted
from services.edge.grants import Grant

BYTES = b"\x01\x00\xff"
IN_BASE64 = base64.b64encode(BYTES).decode()


def result(**fields: Any) -> bytes:
    return json.dumps({"result": fields}).encode()


def test_a_client_on_protobuf_may_get_any_bytes_of_its_own() -> None:
    given = result(b64data=IN_BASE64, subs={"chat:a": {"b64data": IN_BASE64}})
    assert connect_answer(given, "protobuf") == Admitted(data=Raw(BYTES), subs={"chat:a": Grant(data=Raw(BYTES))})
    assert subscribe_answer(result(b64data=IN_BASE64), "protobuf") == Grant(data=Raw(BYTES))
    assert subscribe_answer(result(data={"n": 1}), "protobuf") == Grant(data=Raw(b'{"n": 1}'))


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_what_others_see_is_json_whatever_the_client_speaks(encoding: str) -> None:
    for decode in (connect_answer, subscribe_answer):
        with pytest.raises(BadAnswer, match="b64info is not JSON in base64"):
            decode(result(b64info=IN_BASE64), encoding)


def test_bytes_for_a_client_on_json_are_a_bad_answer() -> None:
    for decode in (connect_answer, subscribe_answer):
        with pytest.raises(BadAnswer, match="b64data is not JSON in base64"):
            decode(result(b64data=IN_BASE64), "json")


@pytest.mark.parametrize("text", ["?", "e30", "é"])
def test_what_is_not_base64_is_a_bad_answer_for_everybody(text: str) -> None:
    for encoding in ("json", "protobuf"):
        with pytest.raises(BadAnswer, match="b64data is not"):
            subscribe_answer(result(b64data=text), encoding)


def test_a_publish_answer_may_name_a_version() -> None:
    assert publish_answer(result(version=7, version_epoch="a")) == Accepted(version=Version(7, "a"))
    assert publish_answer(result(version=7)) == Accepted(version=Version(7))
    assert publish_answer(result(version=0, version_epoch="a")) == Accepted()
    assert publish_answer(result(version=2**63 - 1)) == Accepted(version=Version(2**63 - 1))


@pytest.mark.parametrize(
    "fields",
    [
        {"version": -1},
        {"version": 2**63},
        {"version": "7"},
        {"version": 7, "version_epoch": "line\nbreak"},
        {"version": 7, "version_epoch": " a"},
        {"version": 7, "version_epoch": "a" * 257},
        {"version": 7, "skip_history": True},
    ],
)
def test_a_version_that_cannot_be_compared_is_a_bad_answer(fields: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        publish_answer(result(**fields))


def test_a_publish_answer_that_asks_for_a_delta_asks_for_nothing() -> None:
    assert publish_answer(result(delta=True)) == publish_answer(result(delta=False)) == Accepted()


def test_a_subscription_may_begin_with_what_a_cache_holds() -> None:
    admitted = connect_answer(result(subs={"now:a": {"cache_recover": True}, "now:b": {"cache_recover": False}}))
    assert isinstance(admitted, Admitted)
    assert admitted.subs == {"now:a": Grant(cache_recover=True), "now:b": Grant()}


def test_a_filter_that_would_hide_something_is_not_left_out() -> None:
    for tree in ({"key": "a", "cmp": "eq", "val": "1"}, {}):
        fields: dict[str, Any] = {"server_tags_filter": tree}
        with pytest.raises(BadAnswer, match="server_tags_filter, which is not offered"):
            subscribe_answer(result(**fields))
        with pytest.raises(BadAnswer, match="server_tags_filter"):
            connect_answer(result(subs={"chat:a": fields}))
    assert subscribe_answer(result(server_tags_filter=None)) == Grant()


def test_an_rpc_answer_without_its_envelope_is_told_and_not_a_silent_null() -> None:
    for forgotten in (b'{"text":"x"}', b'{"data":{"text":"x"}}', b'{"b64data":"/wA="}'):
        with pytest.raises(BadAnswer, match="none of result, error and disconnect: expected"):
            rpc_answer(forgotten)


@pytest.mark.parametrize(
    "answer", [b"{}", b'{"result":null}', b'{"result":{}}', b'{"error":null}', b'{"result":null,"v":1}']
)
def test_an_rpc_answer_may_be_without_data(answer: bytes) -> None:
    assert rpc_answer(answer) == b""
