"""Receivers that are not well: each is a verdict within the timeout, and never an exception."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proto.signature import HEADER, is_signed
from services.chassis.process.settings import Duration
from services.sessions.webhooks import sender_http
from services.sessions.webhooks.sender_http import WebhookSender
from services.sessions.webhooks.settings import WebhookSettings
from services.sessions.webhooks.verdict import REASON_LENGTH, Meaning, Verdict
from tests.sessions.webhooks.receiver import SECRET
from tests.support.certificates import Authority
from tests.support.eventually import eventually

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(peer: Peer, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    handled: list[asyncio.Event] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handled.append(asyncio.Event())
        try:
            await peer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            handled[-1].set()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for one in handled:
            await one.wait()


async def sent_to(url: str, timeout_s: float = 5.0, ca_file: str = "") -> Verdict:
    sender = WebhookSender(WebhookSettings("app", url, SECRET, timeout=Duration(timeout_s), ca_file=ca_file))
    try:
        return await sender.send(b'{"version":1,"events":[]}')
    finally:
        await sender.close()


def answering(answer: bytes, then_hang: bool = False) -> Peer:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(answer)
        await writer.drain()
        if then_hang:
            await reader.read()

    return peer


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n<htm>", "status"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/inside\r\nContent-Length: 0\r\n\r\n", "redirect"),
        (b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n", "refused"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "unreachable"),
        (b"not HTTP at all\r\n\r\n", "unreachable"),
        (b"", "unreachable"),
    ],
    ids=["500 in HTML", "redirect", "400", "half an answer", "no HTTP", "hung up"],
)
async def test_an_answer_that_does_not_take_the_events(answer: bytes, outcome: str):
    async with serving(answering(answer)) as port:
        verdict = await sent_to(f"http://127.0.0.1:{port}/")
    assert verdict.outcome == outcome and verdict.meaning is not Meaning.TAKEN
    assert verdict.reason


async def test_of_what_a_receiver_writes_little_is_told():
    async with serving(answering(b"x" * 50_000 + b"\r\n\r\n")) as port:
        verdict = await sent_to(f"http://127.0.0.1:{port}/")
    assert verdict.outcome == "unreachable" and 0 < len(verdict.reason) <= REASON_LENGTH


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nslow"], ids=["silent", "slow"])
async def test_a_receiver_that_is_silent_or_slow_is_given_its_timeout(answer: bytes):
    async with serving(answering(answer, then_hang=True)) as port:
        verdict = await sent_to(f"http://127.0.0.1:{port}/", timeout_s=0.2)
    assert verdict.outcome == "timeout" and "0.2 s" in verdict.reason


async def test_an_endless_answer_is_not_read():
    read_all = False

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal read_all
        await reader.readuntil(b"}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(10_000):
            writer.write(b"x" * 10_000)
            await writer.drain()
        read_all = True

    async with serving(peer) as port:
        assert (await sent_to(f"http://127.0.0.1:{port}/")).meaning is Meaning.TAKEN
    assert not read_all


async def test_a_certificate_that_does_not_verify_is_said_and_one_of_ca_file_is_taken(tmp_path: Path):
    authority = Authority(tmp_path)
    certificate, key = authority.certificate("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    answer = answering(b"HTTP/1.1 204 No Content\r\n\r\n")
    async with serving(answer, context) as port:
        refused = await sent_to(f"https://127.0.0.1:{port}/")
        taken = await sent_to(f"https://127.0.0.1:{port}/", ca_file=str(tmp_path / "authority.pem"))
    assert refused.outcome == "tls" and refused.meaning is Meaning.AGAIN
    assert taken.meaning is Meaning.TAKEN, taken


async def test_the_body_is_signed_as_it_is_sent():
    seen: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        seen.append(await reader.readuntil(b"}"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    async with serving(peer) as port:
        sender = WebhookSender(WebhookSettings("app", f"http://127.0.0.1:{port}/", SECRET), now=lambda: 1_796_000_000)
        try:
            assert (await sender.send(b'{"version":1,"events":[]}')).meaning is Meaning.TAKEN
        finally:
            await sender.close()
    head = dict(line.split(": ", 1) for line in seen[0].decode().split("\r\n")[1:-2])
    assert is_signed([SECRET], head[HEADER], seen[1], 1_796_000_001)
    assert not is_signed(["another-secret-of-tests"], head[HEADER], seen[1], 1_796_000_001)
    assert head["Content-Type"] == "application/json"


async def test_an_idle_connection_is_closed_and_the_next_request_opens_another(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sender_http, "_KEEP_ALIVE_S", 0.05)
    ended: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        ended.append(await reader.read())

    async def closed_after_a_request(number: int) -> None:
        assert (await sender.send(b"{}")).meaning is Meaning.TAKEN
        await eventually(lambda: len(ended) == number)

    async with serving(peer) as port:
        sender = WebhookSender(WebhookSettings("app", f"http://127.0.0.1:{port}/", SECRET))
        try:
            await closed_after_a_request(1)
            await closed_after_a_request(2)
        finally:
            await sender.close()
    assert ended == [b"", b""]


async def test_what_a_receiver_wants_kept_is_not_kept_and_no_failure_of_the_client_is_an_exception():
    heads: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            await reader.readuntil(b"}")
            writer.write(b"HTTP/1.1 204 No Content\r\nSet-Cookie: sticky=1; Path=/\r\n\r\n")
            await writer.drain()

    async with serving(peer) as port:
        sender = WebhookSender(WebhookSettings("app", f"http://127.0.0.1:{port}/", SECRET))
        for _ in range(2):
            assert (await sender.send(b"{}")).meaning is Meaning.TAKEN
        await sender.close()
    assert len(heads) == 2 and b"cookie" not in heads[1].lower()
    unusual = await sent_to("http://exa_mple..com:1/\x7f")
    assert unusual.outcome == "unreachable" and unusual.reason
