"""The promises of every HTTP path for clients: who may read the answer, the methods, the size of a body."""

from __future__ import annotations

import pytest
from starlette.responses import Response

from services.edge.transports import http_endpoint
from services.edge.transports.http_endpoint import Endpoint, Refusal
from tests.support.asgi import Call
from tests.support.cluster import EdgeCluster, TestEdge

LIMIT = 10


class Echo(Endpoint):
    """Answers with the body, or with `answer`."""

    async def answer(self, request, send):
        if request.query("refuse"):
            raise Refusal(418, request.query("refuse"))
        body = await request.body(LIMIT)
        if body is None:
            return None
        return Response(body + b" in binary" * request.is_binary, headers=request.cors)


@pytest.fixture
def edge() -> TestEdge:
    return TestEdge(EdgeCluster(), allowed_origins=["https://*.example.com"])


@pytest.fixture
def echo(edge: TestEdge) -> Echo:
    return Echo(edge.context, ("POST",), ())


async def test_a_request_without_an_origin_is_no_browsers_and_is_answered(echo):
    call = Call(echo, body=[b"ab", b"", b"c"])
    assert await call.answered() == 200
    assert call.body == b"abc" and not [name for name in call.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://a.example.com", True),
        ("HTTPS://A.Example.com", True),
        ("https://example.com", False),
        ("https://a.example.com.evil.org", False),
        ("null", False),
        ("", False),
        ("https://a\x01.example.com", False),
        ("https://\xe4.example.com", False),
    ],
)
async def test_only_pages_of_allowed_origins_are_answered_and_may_read_it(echo, origin, allowed):
    for method in ("POST", "OPTIONS", "PUT"):
        call = Call(echo, method, headers={"Origin": origin})
        status = {"POST": 200, "OPTIONS": 204, "PUT": 405}[method]
        assert await call.answered() == (status if allowed else 403)
        assert call.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert ("access-control-allow-credentials" in call.headers) == allowed


async def test_the_refused_origin_is_logged_and_cannot_forge_log_lines(echo, caplog):
    caplog.set_level("INFO")
    for origin in ("https://evil.example", "https://\x1b[2J\xff", "https://" + "x" * 5000):
        call = Call(echo, headers={"Origin": origin})
        assert await call.answered() == 403 and call.body == b"this origin may not connect (client.allowed_origins)\n"
    plain, strange, long = caplog.messages
    assert plain.endswith("the page's origin is 'https://evil.example'")
    assert strange.isascii() and strange.isprintable() and r"'https://\x1b[2J\xff'" in strange
    assert "https://xxx" in long and len(long) < 350


async def test_a_page_may_read_why_it_was_refused(echo):
    call = Call(echo, query="refuse=no+tea", headers={"Origin": "https://a.example.com"})
    assert await call.answered() == 418 and call.body == b"no tea\n"
    assert call.headers["access-control-allow-origin"] == "https://a.example.com"


@pytest.mark.parametrize(
    ("wanted", "told"),
    [("content-type, X-Mine_2", "content-type, X-Mine_2"), ("x\x01", None), ("a;b", None), ("a" * 2000, None)],
)
async def test_a_preflight_allows_any_headers_that_are_names(echo, wanted, told):
    headers = {"Origin": "https://a.example.com", "Access-Control-Request-Headers": wanted}
    call = Call(echo, "OPTIONS", headers=headers)
    assert await call.answered() == 204
    assert call.headers.get("access-control-allow-headers") == told
    assert call.headers["access-control-max-age"] == "300"


@pytest.mark.parametrize(("kind", "binary"), [("application/octet-stream", True), ("text/plain", False), ("", False)])
async def test_the_type_of_the_body_decides_how_it_is_read(echo, kind, binary):
    for spelling in (kind, kind.upper(), f"{kind} ; charset=utf-8"):
        call = Call(echo, headers={"Content-Type": spelling})
        await call.answered()
        assert (call.body == b" in binary") is binary


async def test_a_body_past_the_limit_is_thrown_away_to_the_end_and_refused(echo):
    assert await Call(echo, body=b"x" * LIMIT).answered() == 200
    parts = [b"x" * 6] * 1000
    call = Call(echo, body=parts)
    assert await call.answered() == 413 and not parts, "whoever sends listens when it has sent"
    endless = [b"x" * 65536] * 1000
    call = Call(echo, body=endless)
    assert await call.answered() == 413 and len(endless) > 900
    assert call.headers["connection"] == "close"


async def test_a_body_that_does_not_end_is_refused_in_time(echo, monkeypatch):
    monkeypatch.setattr(http_endpoint, "BODY_TIMEOUT_S", 0.01)
    call = Call(echo, body=b"x", complete=False)
    assert await call.answered() == 408 and call.headers["connection"] == "close"


async def test_a_client_that_leaves_meanwhile_gets_no_answer(echo):
    call = Call(echo, body=b"x", complete=False)
    call.leaves.set()
    assert await call.answered() == 0


async def test_an_address_is_there_while_one_of_its_transports_is_offered(edge):
    assert await Call(Echo(edge.context, ("POST",), ("sse", "websocket"))).answered() == 200
    call = Call(Echo(edge.context, ("POST",), ("sse", "http_stream")))
    assert await call.answered() == 404 and b"sse and http_stream are not offered" in call.body
    call = Call(Echo(edge.context, ("POST",), ("sse",)))
    assert await call.answered() == 404 and b"sse is not offered here (client.transports)" in call.body
