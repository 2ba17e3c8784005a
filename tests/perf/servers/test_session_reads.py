"""Counting sessions over HTTP: all pages, with the key, until there are enough."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from perf.servers.session_reads import ReadFailed, SessionReads


class Service(http.server.ThreadingHTTPServer):
    """A sessions service of three pages, which learns of one more end with each question."""

    daemon_threads = True
    pages = 3
    ends = 0
    body: bytes | None = None
    asked: list[dict[str, list[str]]]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self.server.asked.append(query)
        page = int(query.get("cursor", ["0"])[0])
        self.server.ends += 1
        ended = page < self.server.ends // 3
        end = {"ended_at": "2026-01-01T00:00:00Z", "end_code": 1001} if ended else {"ended_at": None, "end_code": None}
        answer = {
            "sessions": [{"id": f"s{page}", **end}],
            "next": str(page + 1) if page + 1 < self.server.pages else None,
        }
        self.send_response(200 if self.headers["X-API-Key"] == "key" else 401)
        self.end_headers()
        self.wfile.write(self.server.body or json.dumps(answer).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    server = Service(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def reads(service: Service, key: str = "key") -> SessionReads:
    return SessionReads(f"http://127.0.0.1:{service.server_address[1]}", key)


async def test_all_pages_are_counted(service: Service) -> None:
    assert await reads(service).opened("edge 1", at_least=3, within_s=5) == 3
    assert [query["edge"] for query in service.asked] == [["edge 1"]] * 3


async def test_it_asks_until_all_have_ended(service: Service) -> None:
    assert await reads(service).ends("e", at_least=3, within_s=20) == {"1001": 3}
    assert len(service.asked) > 3


async def test_what_is_there_when_the_time_is_over(service: Service) -> None:
    assert await reads(service).opened("e", at_least=4, within_s=0) == 3


async def test_a_wrong_key_is_an_error_that_does_not_show_it(service: Service) -> None:
    with pytest.raises(ReadFailed, match="401") as failed:
        await reads(service, "hush").opened("e", 1, 5)
    assert "hush" not in str(failed.value)


async def test_something_else_than_sessions_is_an_error(service: Service) -> None:
    service.body = b"<html>"
    with pytest.raises(ReadFailed, match="something else"):
        await reads(service).opened("e", 1, 5)


async def test_a_service_that_is_not_there_is_named() -> None:
    with pytest.raises(ReadFailed, match=r"127\.0\.0\.1:1 "):
        await SessionReads("http://127.0.0.1:1", "key").opened("e", 1, 5)
