"""The server API over HTTP: what is about the request itself, not about the method."""

from __future__ import annotations

from typing import cast

import pytest
from starlette.types import ASGIApp

from services.chassis.http.application import make_application
from services.edge.server_api import calls_http
from services.edge.server_api.call_counts import CallCounts
from services.edge.server_api.call_failures import CallFailures
from services.edge.server_api.calls_http import ServerApi
from services.edge.server_api.methods import MAX_BODY_BYTES, ApiMethods
from services.edge.tally import Tally
from tests.support.asgi import Call

KEY = {"X-API-Key": "key"}


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def app(tally: Tally) -> ASGIApp:
    return make_application(
        ServerApi("key", cast("ApiMethods", None), CallCounts(tally), CallFailures(lambda *_, **__: None)).routes()
    )


@pytest.mark.parametrize("path", ["/api", "/api/publish"])
async def test_a_body_that_does_not_come_in_time_is_refused(
    app: ASGIApp, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls_http, "BODY_TIMEOUT_S", 0.01, raising=False)
    call = Call(app, body=b'{"channel":', headers=KEY, complete=False, path=path)
    assert await call.answered() == 408 and call.headers["connection"] == "close"
    assert b"within 0.01 s" in call.body


async def test_a_body_that_is_too_large_is_refused_and_so_is_one_without_the_key(app: ASGIApp, tally: Tally) -> None:
    assert await Call(app, body=[b"x" * MAX_BODY_BYTES, b"x"], headers=KEY, path="/api/publish").answered() == 413
    assert await Call(app, body=b"x", complete=False, path="/api/publish").answered() == 401
    assert await Call(app, body=b"x", complete=False, path="/api/anything").answered() == 401
    assert await Call(app, body=b"not a call", headers=KEY, path="/api").answered() == 400
    assert tally.api_calls == {("publish", 413): 1, ("publish", 401): 1, ("unknown", 401): 1, ("unknown", 107): 1}


def test_a_connection_with_too_many_requests_at_once_counts_if_they_are_calls(tally: Tally) -> None:
    api = ServerApi("key", cast("ApiMethods", None), CallCounts(tally), CallFailures(lambda *_, **__: None))
    for path in ("/api/publish", "/api", "/api/nonsense", "/metrics", "/apiary"):
        api.pipelined(path)
    assert tally.api_calls == {("publish", 429): 1, ("unknown", 429): 2}
