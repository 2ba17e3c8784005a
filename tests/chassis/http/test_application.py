"""An address has exactly one form."""

from __future__ import annotations

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.chassis.http.application import make_application
from tests.support.plain_http import http_client


async def echo(request: Request) -> Response:
    return PlainTextResponse(request.url.path)


@pytest.mark.parametrize(
    ("path", "status"), [("/api", 200), ("/api/", 404), ("/api/publish", 200), ("/api/publish/", 404), ("/slash", 404)]
)
async def test_an_address_with_a_slash_too_many_or_too_few_is_not_there(path: str, status: int) -> None:
    routes = [Route("/api", echo, methods=["POST"]), Route("/api/{method}", echo, methods=["POST"])]
    transport = httpx.ASGITransport(make_application([*routes, Route("/slash/", echo)]))
    async with http_client(transport=transport, base_url="http://service", headers={"Host": "evil.example"}) as http:
        answer = await http.post(path)
    assert answer.status_code == status and "location" not in answer.headers
