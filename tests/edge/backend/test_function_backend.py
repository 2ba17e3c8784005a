from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.edge.backend.backend import Backend, BackendAway, BadAnswer, rpc_result
from tests.contract.backend import ANYBODY, LONG_S, BackendContract, echo
from tests.support.function_backend import Function, FunctionBackend


class TestFunctionBackend(BackendContract):
    @asynccontextmanager
    async def backend(self, rpc: dict[str, Function], hooks: dict[str, Function]) -> AsyncIterator[Backend]:
        yield FunctionBackend(rpc, hooks)


async def test_a_backend_that_is_cut_off_is_away_and_may_come_back():
    backend = FunctionBackend({"echo": echo})
    backend.away = True
    with pytest.raises(BackendAway) as caught:
        await backend.call("echo", b"1", ANYBODY, LONG_S)
    assert not caught.value.no_responders
    backend.away = False
    assert await backend.call("echo", b"1", ANYBODY, LONG_S) == b"1"


@pytest.mark.parametrize(
    ("answer", "encoding", "embedded"),
    [
        (b"", "json", b""),
        (b"", "protobuf", b""),
        (b'{"a":\n1}', "json", b'{"a":1}'),
        (b"\xff\n", "protobuf", b"\xff\n"),
    ],
)
def test_an_answer_becomes_the_result_that_a_connection_can_carry(answer, encoding, embedded):
    assert bytes(rpc_result(answer, encoding).data) == embedded


@pytest.mark.parametrize("answer", [b"\xff", b"{", b"not json", b'"\xff"', b"NaN"])
def test_an_answer_that_is_not_json_is_no_answer_for_a_json_connection(answer):
    with pytest.raises(BadAnswer):
        rpc_result(answer, "json")
