"""What every `services.edge.backend.backend.Backend` promises. Each implementation's tests subclass this suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest
from msgspec import Raw, json

from services.edge.backend.backend import MAX_ANSWER_BYTES, Backend, BackendAway, BackendError, BadAnswer, Caller
from tests.support.function_backend import Function

LONG_S = 10.0  # more than any answer here takes
SHORT_S = 0.05  # for an answer that never comes
ANYBODY = Caller()
ALICE = Caller(
    user="alice \r\nNats-Service-Error-Code: 500\r\n\t%41 é 😀 \x00\x7f",
    client="4a1b-77%",
    conn_info=Raw('{"name": "Zoë 😀 \\u0041",\t"\x7f": [1e999]}'.encode()),
    meta=Raw(b'{"role":"admin"}'),
    transport="sse",
    encoding="protobuf",
)
PAYLOADS = [b"", b'{"a": 1}', b'{"a":\n\r\n1}', "é".encode(), bytes(range(256)), b"\r\n" * 100, b"x" * 100_000]
METHODS = ["", "list", "orders.list", "a b", "é😀", "*", ">", "a.*", "%", "%2E", "a\r\nb", "\t", "😀" * 255]


class Seen:
    """A function that keeps its calls and answers `answer`."""

    def __init__(self, answer: bytes = b"{}") -> None:
        self.answer = answer
        self.calls: list[tuple[bytes, Caller | None]] = []

    def __call__(self, data: bytes, caller: Caller | None) -> bytes:
        self.calls.append((data, caller))
        return self.answer


async def echo(data: bytes, caller: Caller | None) -> bytes:
    return data


async def never(data: bytes, caller: Caller | None) -> bytes:
    await asyncio.Event().wait()
    return b"unreachable"


def failing(code: int, message: str, temporary: bool = False) -> Function:
    def fail(data: bytes, caller: Caller | None) -> bytes:
        raise BackendError(code, message, temporary)

    return fail


class Serving:
    """Starts backends, as the implementation has them."""

    def __init__(self, contract: BackendContract, stack: AsyncExitStack) -> None:
        self._contract = contract
        self._stack = stack

    async def __call__(
        self, rpc: dict[str, Function] | None = None, hooks: dict[str, Function] | None = None
    ) -> Backend:
        """The backend as an edge sees it; it serves these functions."""
        return await self._stack.enter_async_context(self._contract.backend(rpc or {}, hooks or {}))


class BackendContract:
    """`serving` starts a backend."""

    def backend(self, rpc: dict[str, Function], hooks: dict[str, Function]) -> AbstractAsyncContextManager[Backend]:
        raise NotImplementedError("the subclass gives a backend that serves these functions")

    @pytest.fixture
    def address(self) -> str:
        """Where the backends' server is, for implementations that have one."""
        return ""

    @pytest.fixture
    async def serving(self, address: str) -> AsyncIterator[Serving]:
        self.server = address
        async with AsyncExitStack() as stack:
            yield Serving(self, stack)

    async def test_data_passes_through_byte_for_byte(self, serving):
        backend = await serving({"echo": echo}, {"connect": echo})
        for data in PAYLOADS:
            assert await backend.call("echo", data, ANYBODY, LONG_S) == data
            assert await backend.ask("connect", data, None, LONG_S) == data

    async def test_a_backend_is_told_who_asks(self, serving):
        seen = Seen()
        backend = await serving({"whoami": seen}, {"publish": seen})
        for caller in (ALICE, ANYBODY):
            await backend.call("whoami", b"", caller, LONG_S)
            await backend.ask("publish", b"", caller, LONG_S)
        for (_, told), caller in zip(seen.calls, (ALICE, ALICE, ANYBODY, ANYBODY), strict=True):
            assert told is not None
            assert (told.user, told.client) == (caller.user, caller.client)
            assert (told.transport, told.encoding) == (caller.transport, caller.encoding)
            for mine, theirs in ((caller.conn_info, told.conn_info), (caller.meta, told.meta)):
                assert _value(mine) == _value(theirs)

    async def test_every_method_has_a_backend_of_its_own(self, serving):
        backend = await serving({method: Seen(method.encode()) for method in METHODS})
        for method in METHODS:
            assert await backend.call(method, b"", ANYBODY, LONG_S) == method.encode()

    async def test_a_method_that_nobody_can_have_is_not_found(self, serving):
        backend = await serving()
        for method in (".", "a.", ".a", "a..b", "x" * 256, "\ud800"):
            with pytest.raises(BackendError) as caught:
                await backend.call(method, b"", ANYBODY, LONG_S)
            assert caught.value.code == 104, method

    async def test_errors_are_carried_to_the_client(self, serving):
        errors = [(100, "busy", True), (400, "bad: {}", False), (404, "not here", False), (1999, "Zoë", True)]
        rpc: dict[str, Function] = {str(code): failing(code, message, temp) for code, message, temp in errors}
        backend = await serving(rpc, {"connect": failing(403, "no")})
        for code, message, temporary in errors:
            with pytest.raises(BackendError) as caught:
                await backend.call(str(code), b"", ANYBODY, LONG_S)
            assert caught.value.error == (code, message, temporary)
        with pytest.raises(BackendError) as caught:
            await backend.ask("connect", b"{}", None, LONG_S)
        assert caught.value.error == (403, "no", False)

    async def test_an_error_s_message_is_bounded_and_never_empty(self, serving):
        backend = await serving({"long": failing(400, "x" * 1000), "empty": failing(400, "")})
        with pytest.raises(BackendError) as caught:
            await backend.call("long", b"", ANYBODY, LONG_S)
        assert caught.value.message == "x" * 256
        with pytest.raises(BackendError) as caught:
            await backend.call("empty", b"", ANYBODY, LONG_S)
        assert caught.value.message == "error"

    async def test_error_codes_that_mean_something_else_to_clients_are_bad_answers(self, serving):
        codes = [-1, 0, 5, 99, 2000, 2500, 3500, 10**8]
        backend = await serving({str(code): failing(code, "no") for code in codes})
        for code in codes:
            with pytest.raises(BadAnswer):
                await backend.call(str(code), b"", ANYBODY, LONG_S)

    async def test_an_answer_larger_than_a_frame_is_a_bad_answer(self, serving):
        whole, too_large = Seen(b"x" * MAX_ANSWER_BYTES), Seen(b"x" * (MAX_ANSWER_BYTES + 1))
        backend = await serving({"whole": whole, "too_large": too_large}, {"connect": too_large})
        assert len(await backend.call("whole", b"", ANYBODY, LONG_S)) == MAX_ANSWER_BYTES
        with pytest.raises(BadAnswer):
            await backend.call("too_large", b"", ANYBODY, LONG_S)
        with pytest.raises(BadAnswer):
            await backend.ask("connect", b"", ANYBODY, LONG_S)

    async def test_nobody_there_is_told_at_once_and_as_such(self, serving):
        backend = await serving({"echo": echo}, {"connect": echo})
        with pytest.raises(BackendAway) as caught:
            await backend.call("other", b"", ANYBODY, LONG_S)
        assert caught.value.no_responders
        with pytest.raises(BackendAway) as caught:
            await backend.ask("publish", b"", ANYBODY, LONG_S)
        assert caught.value.no_responders

    async def test_no_answer_in_time_is_not_nobody(self, serving):
        backend = await serving({"never": never, "echo": echo}, {"connect": never})
        with pytest.raises(BackendAway) as caught:
            await backend.call("never", b"", ANYBODY, SHORT_S)
        assert not caught.value.no_responders
        with pytest.raises(BackendAway) as caught:
            await backend.ask("connect", b"", None, SHORT_S)
        assert not caught.value.no_responders
        assert await backend.call("echo", b"after", ANYBODY, LONG_S) == b"after"

    async def test_many_questions_at_once_get_their_own_answers(self, serving):
        backend = await serving({"echo": echo}, {"publish": echo})
        questions = [b"%d" % number for number in range(500)]
        answers = await asyncio.gather(
            *(backend.call("echo", question, ANYBODY, LONG_S) for question in questions),
            *(backend.ask("publish", question, ANYBODY, LONG_S) for question in questions),
        )
        assert answers == questions * 2


def _value(raw: Raw) -> object:
    return json.decode(bytes(raw).replace(b"1e999", b'"1e999"')) if bytes(raw) else None
