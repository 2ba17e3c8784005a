"""How HTTP streams are opened, and by whom: methods, first words, limits, origins. On real edges."""

from __future__ import annotations

import functools

import pytest

from tests.support.edges import connected, start_edge
from tests.support.eventually import eventually
from tests.support.http_streams import (
    KINDS,
    emulation_body,
    frame_of,
    post,
    request,
    streaming,
)
from tests.support.metrics import metric, stands_at
from tests.support.plain_http import http_client

pytestmark = [pytest.mark.integration, pytest.mark.once]

CORS = {"access-control-allow-origin", "access-control-allow-credentials"}


@pytest.fixture(params=KINDS)
def kind(request):
    """Each kind of bidirectional stream."""
    return request.param


@pytest.mark.parametrize("path", ["http_stream", "sse"])
async def test_a_stream_without_first_words_gets_400(shared_edge, path):
    answer = await post(shared_edge, f"/connection/{path}", b"")
    assert answer.status_code == 400 and "connect command" in answer.text
    async with http_client() as http:
        for query in ("", "?cf_connect=", "?other=1"):
            answer = await http.get(f"{shared_edge.url}/connection/{path}{query}")
            assert answer.status_code == (400 if path == "sse" else 405)


@pytest.mark.parametrize("path", ["http_stream", "sse", "uni_http_stream", "uni_sse"])
async def test_first_words_have_a_limit(shared_edge, path):
    assert (await post(shared_edge, f"/connection/{path}", b"x" * 65537)).status_code == 413


@pytest.mark.parametrize("path", ["http_stream", "sse", "uni_http_stream", "uni_sse"])
async def test_a_post_opens_every_stream_and_nothing_on_the_way_may_hold_it_back(shared_edge, path):
    first = b"{}" if path.startswith("uni") else frame_of({"id": 1, "connect": {"token": "garbage"}})
    async with request(shared_edge, f"POST /connection/{path}", first) as stream:
        assert stream.status == 200
        assert stream.headers["transfer-encoding"] == "chunked"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["cache-control"] == "private, no-cache, no-store, must-revalidate, max-age=0"
        assert stream.headers["content-type"].startswith("text/event-stream" if "sse" in path else "application/")


async def test_a_transport_that_is_not_offered_is_a_404_that_says_so(services, nats_server):
    edge = await start_edge(services, nats_server, "edge-a", FAIRLEAD_CLIENT_TRANSPORTS="websocket,uni_sse").ready()
    for path in ("/connection/http_stream", "/connection/sse", "/connection/uni_http_stream", "/emulation"):
        answer = await post(edge, path, b"{}")
        assert answer.status_code == 404 and "client.transports" in answer.text
    async with request(edge, "GET /connection/uni_sse") as stream:
        assert stream.status == 200


async def test_there_is_a_limit_to_streams_and_room_again_when_one_ends(services, nats_server, kind):
    edge = await start_edge(services, nats_server, "edge-a", FAIRLEAD_EDGE_MAX_HTTP_STREAMS="2").ready()
    async with streaming(edge, kind), connected(edge):
        async with streaming(edge, kind) as second:
            answer = await post(edge, "/connection/uni_http_stream", b"{}")
            assert answer.status_code == 503 and "max_http_streams" in answer.text
            assert answer.headers["retry-after"] == "1"
            assert "epoch" in await second.subscribe("chat:x")
            assert await metric(edge, "http_streams") == 2
        await eventually(functools.partial(stands_at, edge, "http_streams", 1))
        async with streaming(edge, kind) as third:
            assert "epoch" in await third.subscribe("chat:x")


async def test_pages_of_allowed_origins_may_and_others_may_not(services, nats_server):
    origins = {"FAIRLEAD_CLIENT_ALLOWED_ORIGINS": "https://*.example.com"}
    edge = await start_edge(services, nats_server, "edge-a", **origins).ready()
    good, evil = "https://app.example.com", "https://example.com.evil.org"
    connect = frame_of({"id": 1, "connect": {"token": "garbage"}})
    paths = ("http_stream", "sse", "uni_http_stream", "uni_sse", "init")
    async with http_client() as http:
        for path in ("/emulation", *(f"/connection/{path}" for path in paths)):
            body = emulation_body("0" * 32, "x", b"{}") if path == "/emulation" else connect
            for method in ("POST", "OPTIONS"):
                answer = await http.request(method, edge.url + path, content=body, headers={"Origin": evil})
                assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
                answer = await http.request(method, edge.url + path, content=body, headers={"Origin": good})
                assert answer.status_code == {"OPTIONS": 204}.get(method, 404 if path == "/emulation" else 200)
                assert answer.headers["access-control-allow-origin"] == good
                assert answer.headers["access-control-allow-credentials"] == "true"
                assert answer.headers["vary"] == "Origin"
            assert (await http.post(edge.url + path, content=b"x" * 65537)).headers.keys().isdisjoint(CORS)


async def test_a_browser_asks_before_it_posts_json(services, nats_server):
    edge = await start_edge(services, nats_server, "edge-a", FAIRLEAD_CLIENT_ALLOWED_ORIGINS="*").ready()
    ask = {
        "Origin": "https://a.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-mine",
    }
    async with http_client() as http:
        answer = await http.options(f"{edge.url}/emulation", headers=ask)
        assert answer.status_code == 204
        assert answer.headers["access-control-max-age"] == "300"
        assert answer.headers["access-control-allow-methods"] == "POST, OPTIONS"
        assert answer.headers["access-control-allow-headers"] == "content-type, x-mine"
        answer = await http.options(f"{edge.url}/connection/sse", headers=ask)
        assert answer.headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
        assert (await http.post(f"{edge.url}/connection/init")).json() == {}
