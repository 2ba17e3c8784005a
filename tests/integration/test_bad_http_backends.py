"""What a client, the metrics and the log get when a backend over HTTP fails, in each way in which it may."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.edges import start_edge_in_memory, wire_client
from tests.support.eventually import eventually
from tests.support.http_backend import Asked, HttpDouble, answer, http_double
from tests.support.metrics import metric
from tests.support.processes import ServiceProcess, Services

KEY = "a-key-in-the-address"

CLIENTS = """
[client]
allow_anonymous_connect_without_token = true
rpc_timeout = "400ms"
"""

BACKEND = """
[[channel.namespaces]]
name = "{name}"
subscribe_hook = true
subscribe_backend = "{name}"
publish_hook = true
publish_backend = "{name}"
hook_timeout = "400ms"
[[backends]]
name = "{name}"
url = "{url}/{{event}}?key={key}"
{more}
"""

ANSWERS = {
    "html": (answer(b"<html>Oops</html>"), "bad_answer"),
    "not_json": (answer(b'{"result": {}'), "bad_answer"),
    "wrong_type": (answer({"result": {"expire_at": "soon"}}), "bad_answer"),
    "ten_megabytes": (answer(b"x" * 10_000_000), "bad_answer"),
    "half": (b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"result"', "bad_answer"),
    "no_http": (b"SSH-2.0-OpenSSH_9.6\r\n", "bad_answer"),
    "error": (answer(b"Traceback", "500 Internal Server Error"), "status"),
    "redirect": (answer(b"", "302 Found", "Location: http://127.0.0.1:1/inside\r\n"), "status"),
    "unavailable": (answer(b"", "503 Service Unavailable"), "away"),
    "hangs_up": (b"", "away"),
}
"""What a backend answers, and the cause by which that counts."""

UNREACHABLE = {
    "silent": "timeout",
    "slow": "timeout",
    "drips": "timeout",
    "strange_tls": "tls",
    "refuses": "away",
    "no_name": "away",
}


@dataclass
class Bad:
    """The edge, and what the failing backend was asked."""

    edge: ServiceProcess
    double: HttpDouble

    async def failures(self, backend: str, call: str) -> dict[str, float]:
        """The counted failures by cause, where there are any."""
        causes = ("no_responders", "timeout", "away", "tls", "busy", "open", "error", "status", "bad_answer")
        name = "backend_failures_total"
        labels = {cause: f'{{backend="{backend}",call="{call}",cause="{cause}"}}' for cause in causes}
        found = {cause: await metric(self.edge, name + label) for cause, label in labels.items()}
        return {cause: count for cause, count in found.items() if count}


async def _answer(asked: Asked) -> bytes:
    """By the last part of the channel's name, or the method's."""
    way = asked.question.get("channel", asked.question.get("method")).rpartition(":")[2]
    match way:
        case "silent":
            await asyncio.Event().wait()
        case "slow":
            await asyncio.sleep(30)
        case "drips":
            return b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"  # and no more
    return ANSWERS[way][0] if way in ANSWERS else answer({"result": {}})


@pytest.fixture
async def bad(services: Services, tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[Bad]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*Authority(tmp_path).certificate("backend"))
    async with contextlib.AsyncExitStack() as stack:
        double = await stack.enter_async_context(http_double(_answer))
        ending = await stack.enter_async_context(http_double(_answer, closes=True))
        strange = await stack.enter_async_context(http_double(_answer, tls=context))
        urls = {
            "app": double.url,
            "ending": ending.url,
            "strange_tls": strange.url,
            "refuses": f"http://127.0.0.1:{unused_tcp_port}",
            "no_name": "http://nobody.invalid",
        }
        more = "breaker_failures = 0"
        tables = [BACKEND.format(name=name, url=url, key=KEY, more=more) for name, url in urls.items()]
        rpc = '[rpc]\nbackend = "app"\nnamespaces = [{name = "ending", backend = "ending"}]\n'
        toml = CLIENTS + rpc + "".join(tables)
        yield Bad(await start_edge_in_memory(services, toml=toml).ready(), double)


async def test_each_has_its_answer_to_the_client_its_counter_and_its_line(bad: Bad, encoding: str) -> None:
    expected: dict[str, dict[str, int]] = {}
    async with wire_client(bad.edge) as client:
        await client.ask(connect={})
        for way, cause in {**{way: cause for way, (_, cause) in ANSWERS.items()}, **UNREACHABLE}.items():
            backend = "ending" if way in ("half", "no_http", "hangs_up") else way
            backend = backend if backend in ("ending", "strange_tls", "refuses", "no_name") else "app"
            error = (await client.ask(subscribe={"channel": f"{backend}:{way}"}))["error"]
            assert (error["code"], error["temporary"]) == (100, True), way
            of_backend = expected.setdefault(backend, {})
            of_backend[cause] = of_backend.get(cause, 0) + 1
    for backend, counted in expected.items():
        found = await bad.failures(backend, "hook.subscribe")
        if backend == "no_name":  # where the resolver itself does not answer, the deadline ends it
            assert sum(found.values()) == 1 and found.keys() <= {"away", "timeout"}
        else:
            assert found == counted, backend
    log = bad.edge.log()
    kinds = ("a backend's answer to the subscribe hook is unusable: ", "no backend answers the subscribe hook: ")
    for kind in kinds:
        assert 1 <= log.count(kind) <= 10, "the rate of clients without a user"
    assert "app did not answer within 0.4 s" in log and "the TLS of strange_tls failed: 127.0.0.1:" in log
    assert KEY not in log and "<html>" not in log and "Traceback" not in log


async def test_publishes_and_rpcs_get_their_answers_too(bad: Bad, encoding: str) -> None:
    async with wire_client(bad.edge) as client:
        await client.ask(connect={})
        for way in ("silent", "error", "html"):
            for command in (
                {"publish": {"channel": f"app:{way}", "data": {}}},
                {"rpc": {"method": f"app:{way}", "data": {}}},
            ):
                assert (await client.ask(**command))["error"]["code"] == 100, command
    for call in ("hook.publish", "rpc"):
        assert await bad.failures("app", call) == {"timeout": 1, "status": 1, "bad_answer": 1}


async def test_a_backend_that_closes_its_connection_after_each_answer_is_asked_on_a_new_one(
    bad: Bad, encoding: str
) -> None:
    async with wire_client(bad.edge) as client:
        await client.ask(connect={})
        for number in range(3):
            asked: list[dict[str, Any]] = [
                {"subscribe": {"channel": f"ending:{number}"}},
                {"publish": {"channel": f"ending:{number}", "data": {}}},
                {"rpc": {"method": "ending:x", "data": {}}},
            ]
            for command in asked:
                reply = await client.ask_in_any_order(**command)
                assert "error" not in reply, (command, reply)
    for call in ("hook.subscribe", "hook.publish", "rpc"):
        assert await bad.failures("ending", call) == {}


BREAKS = 'max_in_flight = 1\nbreaker_failures = 2\nbreaker_pause = "1s"'


async def test_its_breaker_opens_half_opens_and_closes_and_the_log_has_a_line_for_each(services: Services) -> None:
    down = True

    def answers(asked: Asked) -> bytes:
        return ANSWERS["unavailable"][0] if down else answer({"result": {}})

    async with http_double(answers) as double:
        toml = CLIENTS + BACKEND.format(name="app", url=double.url, key=KEY, more=BREAKS)
        bad = Bad(await start_edge_in_memory(services, toml=toml).ready(), double)
        async with wire_client(bad.edge) as client:
            await client.ask(connect={})

            async def subscribes() -> bool:
                return "error" not in await client.ask(subscribe={"channel": "app:x"})

            async def open_ones() -> float:
                assert not await subscribes()
                return (await bad.failures("app", "hook.subscribe")).get("open", 0)

            await eventually(open_ones)
            asked = len(double.asked)
            await eventually(lambda: _one_more(subscribes, double, asked))  # it is tried, by one, and still down
            down = False
            await eventually(subscribes)
        found = await bad.failures("app", "hook.subscribe")
        assert found.keys() == {"away", "open"} and found["away"] == len(double.asked) - 1
        log = bad.edge.log()
        assert log.count("the backend app is away, and is not asked for 1 s: app answered with status 503") == 1
        assert log.count("the backend app answers again") == 1


async def _one_more(subscribes: Any, double: HttpDouble, asked: int) -> bool:
    await subscribes()
    return len(double.asked) > asked


async def test_questions_beyond_those_in_flight_wait_and_end_at_their_own_deadline(services: Services) -> None:
    async with http_double(_answer) as double:
        toml = CLIENTS.replace("400ms", "1200ms") + '[rpc]\nbackend = "app"\n'
        toml += BACKEND.format(name="app", url=double.url, key=KEY, more=BREAKS)
        bad = Bad(await start_edge_in_memory(services, toml=toml).ready(), double)
        async with wire_client(bad.edge) as slow, wire_client(bad.edge) as other:
            for client in (slow, other):
                await client.ask(connect={})
            held = asyncio.create_task(slow.ask(rpc={"method": "app:silent", "data": {}}))
            await eventually(lambda: double.asked)
            for _ in range(2):  # longer than its breaker would bear, if it had failed
                assert (await other.ask(subscribe={"channel": "app:x"}))["error"]["code"] == 100
            assert (await held)["error"]["code"] == 100
            assert "error" not in await other.ask(subscribe={"channel": "app:x"}), "its place is free again"
        assert await bad.failures("app", "hook.subscribe") == {"busy": 2}
        assert await bad.failures("app", "rpc") == {"timeout": 1}
