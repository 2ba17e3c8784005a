"""A backend's publications: on schedule whatever happens, each counted once, and every refusal with its cause."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from perf.load.pacing import Schedule
from perf.load.publish_connection import PublishConnection
from perf.load.publish_targets import FairleadOnNats, HttpPost, NatsPublish, PublishTarget, ServerApi, server_api
from perf.load.publisher import Publisher, Publishing
from proto import subjects


@dataclass
class StubBackend:
    """Takes whole requests of what a publish target sends and answers them."""

    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    hang_up: bool = False
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionResetError):
            while not self.hang_up:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(size))
                writer.write(self.answer)
        writer.close()


@pytest.fixture
async def backend() -> AsyncIterator[StubBackend]:
    stub = StubBackend()
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0)
    stub.port = server.sockets[0].getsockname()[1]
    yield stub
    server.close()


async def publish(publishing: Publishing) -> Publisher:
    publisher = Publisher(publishing)
    await publisher.open()
    await publisher.run(time.monotonic())
    publisher.close()
    return publisher


async def test_each_channel_gets_its_turn_and_counts_its_own(backend: StubBackend) -> None:
    target = server_api(backend.port, "key")
    publisher = await publish(Publishing(target, ("a", "b"), Schedule(6, 1000.0), size=64))
    done = publisher.done
    assert (done.due, done.accepted, dict(done.failures)) == (6, 6, {})
    assert len(done.lateness_s) == len(done.answer_s) == 6
    calls = sorted((call["channel"], call["data"]["v"].split("@")[2]) for call in map(json.loads, backend.bodies))
    assert calls == [(channel, f"{number:09d}") for channel in "ab" for number in range(3)]
    assert all(b"X-API-Key: key\r\n" in head for head in backend.heads)


def test_an_answer_counts_when_all_of_it_is_there() -> None:
    answers: list[str | None] = []
    connection = PublishConnection(HttpPost(1), lambda _, failure, seconds: answers.append(failure), lambda *_: None)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    for cut in range(len(answer)):
        connection.data_received(answer[cut : cut + 1])
        assert answers == [None] * (cut == len(answer) - 1)


async def test_a_saturating_run_keeps_its_window_full_and_ends(backend: StubBackend) -> None:
    publisher = await publish(Publishing(HttpPost(backend.port), ("a",), seconds=0.05, window=3))
    assert backend.connections == 3
    assert publisher.done.accepted == len(backend.bodies) >= 3


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nno\n", "http 401 no"),
        (b'HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{"error":{"code":102}}', 'http 200 {"error":{"code":102}}'),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "http 503"),
    ],
)
async def test_refusals_are_counted_by_cause(backend: StubBackend, answer: bytes, cause: str) -> None:
    backend.answer = answer
    done = (await publish(Publishing(ServerApi(backend.port), ("a",), Schedule(2, 1000.0)))).done
    assert (done.accepted, dict(done.failures)) == (0, {cause: 2})


async def test_a_backend_without_a_connection_left_says_so(backend: StubBackend) -> None:
    backend.hang_up = True
    done = (await publish(Publishing(HttpPost(backend.port), ("a",), Schedule(50, 1000.0), connections=2))).done
    assert done.accepted == 0
    assert sum(done.failures.values()) == 2


async def test_what_was_due_while_every_connection_was_busy_is_late_not_left_out(backend: StubBackend) -> None:
    plan = Publishing(HttpPost(backend.port), ("a",), Schedule(20, 10_000.0), connections=1)
    publisher = Publisher(plan)
    await publisher.open()
    done = await publisher.run(time.monotonic() - 1.0)
    publisher.close()
    assert done.accepted == 20
    assert min(done.lateness_s) > 0.9


def test_nats_targets_speak_nats() -> None:
    assert NatsPublish(1).encode("a.b", b"{}") == b"PUB a.b 2\r\n{}\r\n"
    assert NatsPublish(1).reply(b"PING\r\n") == b"PONG\r\n"
    assert FairleadOnNats(1).subject("live:x") == subjects.ephemeral("live:x")


def test_an_http_target_fills_the_channel_in() -> None:
    target: PublishTarget = HttpPost(80, "/pub/{channel}", b"<{channel}>", b".")
    assert target.encode("c", b"{}").startswith(b"POST /pub/c HTTP/1.1\r\n")
    assert target.encode("c", b"{}").endswith(b"Content-Length: 6\r\n\r\n<c>{}.")


@pytest.mark.parametrize(
    ("options", "words"),
    [({"channels": ()}, "channel"), ({"size": 10}, "at least"), ({"target": NatsPublish(1)}, "schedule")],
)
def test_what_cannot_be_published_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Publishing(**{"target": HttpPost(1), "channels": ("a",), **options})  # type: ignore[arg-type]  # on purpose
