"""The autoscaler reads what the metrics service answers, and takes nothing for an answer that is none."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from deploy.local import recommendation
from services.metrics.answers import CapacityAnswer, capacity_answer
from services.metrics.edge_count import CountSettings
from services.metrics.planner import EdgeLimits, Planner

NOW = 1_800_000_000.0


def answer(at: float, edges: int | None) -> bytes:
    return msgspec.json.encode(CapacityAnswer(problem=None, at=int(at), recommended_edges=edges))


def test_the_number_that_the_service_recommends() -> None:
    assert recommendation.read(answer(NOW - 70, 4), NOW) == (4, "")


def test_before_the_first_minute_nothing_is_recommended() -> None:
    body = msgspec.json.encode(capacity_answer(Planner(EdgeLimits(), CountSettings(), 0.9)))
    read = recommendation.read(body, NOW)
    assert read == (None, "the metrics service recommends nothing yet: no minute has been heard in full yet")


def test_a_number_of_long_ago_counts_no_more() -> None:
    read = recommendation.read(answer(NOW - 300, 4), NOW)
    assert read == (None, "the metrics service has heard no edge for 300 s")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"recommended_edges": "4"}'])
def test_what_cannot_be_read_is_no_answer(body: bytes) -> None:
    assert recommendation.read(body, NOW).edges is None


@contextmanager
def service(status: int, body: bytes) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/capacity" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_it_is_asked_over_http() -> None:
    with service(200, answer(NOW, 3)) as port:
        assert recommendation.ask(port, NOW) == (3, "")
    with service(503, answer(NOW, 3)) as port:
        assert recommendation.ask(port, NOW) == (None, "the metrics service answers /capacity with 503")
    read = recommendation.ask(port, NOW)
    assert read.edges is None and read.problem.startswith("the metrics service does not answer: ")
