"""A client that is refused while it still sends gets the answer: a real uvicorn on a real socket."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from services.chassis.http.limits import MAX_DROPPED_BYTES, MAX_HEAD_BYTES, MAX_HEAD_FIELDS, MAX_PIPELINED
from tests.chassis.http.test_limits import calling, get, serving

HEAD = b"HEAD / HTTP/1.1\r\nHost: x\r\n"
MORE = b"x" * (MAX_DROPPED_BYTES // 2)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (get("/held") + get("/") * 4 * MAX_PIPELINED, 429),
        (get("/", b"Cookie: " + b"c" * (2 * MAX_HEAD_BYTES)), 431),
        (get("/", *[b"X: y"] * (2 * MAX_HEAD_FIELDS)), 431),
        (b"NONSENSE\r\n\r\n", 400),
    ],
)
async def test_it_reads_the_answer_and_then_the_end(sent: bytes, status: int) -> None:
    async with serving() as port, calling(port) as caller:
        await caller.says(sent + MORE)
        heard, body = await caller.hears()
        error = json.loads(body)["error"]
        assert heard == error["code"] == status and error["message"], "as errors of the server and sessions APIs"
        await caller.says(MORE[:1024])
        await caller.hears_the_end()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + b"Cookie: " + b"c" * (2 * MAX_HEAD_BYTES), 431),
        (HEAD + b"X: y\r\n" * (2 * MAX_HEAD_FIELDS) + b"\r\n", 431),
        (HEAD + b"no field\r\n\r\n", 400),
        (HEAD + b"\r\n" + get("/") * 4 * MAX_PIPELINED, 429),
    ],
)
async def test_the_answer_to_a_head_has_no_body(sent: bytes, status: int) -> None:
    async with serving() as port, calling(port) as caller:
        await caller.says(sent)
        answer = await caller.reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()) and b"content-length: " in answer
        await caller.hears_the_end()


@pytest.mark.parametrize("sent", [get("/", b"Cookie: " + b"c" * (2 * MAX_HEAD_BYTES)), b"NONSENSE\r\n\r\n"])
async def test_one_after_a_head_has_a_body(sent: bytes) -> None:
    async with serving() as port, calling(port) as caller:
        await caller.says(HEAD + b"\r\n")
        await caller.reader.readuntil(b"\r\n\r\n")
        await caller.says(sent)
        assert json.loads((await caller.hears())[1])["error"]["message"]


async def test_one_that_does_not_stop_sending_is_cut_off() -> None:
    async with serving() as port, calling(port) as caller:
        await caller.says(b"NONSENSE\r\n\r\n")
        assert (await caller.hears())[0] == 400
        with pytest.raises(ConnectionError):
            for _ in range(100):
                await caller.says(MORE)


async def test_one_that_does_not_close_is_closed_in_time() -> None:
    async with serving(head_timeout_s=0.2) as port, calling(port) as caller:
        await caller.says(b"NONSENSE\r\n\r\n")
        await caller.hears()
        await caller.hears_the_end()
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < MAX_DROPPED_BYTES:
                await caller.says(b"x")
                sent += 1
                await asyncio.sleep(0)  # a turn of the loop, in which the server may close


async def test_a_server_that_stops_does_not_wait_for_it() -> None:
    async with AsyncExitStack() as callers:
        async with serving(head_timeout_s=600) as port:
            caller = await callers.enter_async_context(calling(port))
            await caller.says(b"NONSENSE\r\n\r\n")
            assert (await caller.hears())[0] == 400
        await caller.hears_the_end()
