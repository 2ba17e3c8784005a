"""The server API over HTTP: what is about the request itself, not about the method."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest
from starlette.types import ASGIApp

from services.chassis.http.api_key import ApiKeys
from services.chassis.http.application import make_application
from services.chassis.process.api_keys import ApiKey, HttpApiSettings
from services.edge.server_api import calls_http
from services.edge.server_api.answers import METHODS, Empty
from services.edge.server_api.call_counts import CallCounts
from services.edge.server_api.call_failures import CallFailures
from services.edge.server_api.calls_http import ServerApi
from services.edge.server_api.methods import MAX_BODY_BYTES, ApiMethods
from services.edge.tally import Tally
from tests.support.asgi import Call

KEY = {"X-API-Key": "key"}
KEYS = [ApiKey(name="shop", key="publishes", scope="publish"), ApiKey(name="support", key="reads", scope="read")]


@pytest.fixture
def tally() -> Tally:
    return Tally()


def api(tally: Tally, methods: object = None) -> ServerApi:
    keys, failures = ApiKeys(HttpApiSettings("key", KEYS)), CallFailures(lambda *_, **__: None)
    return ServerApi(keys, cast("ApiMethods", methods), CallCounts(tally), failures)


@pytest.fixture
def app(tally: Tally) -> ASGIApp:
    return make_application(api(tally).routes())


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


REACHED = {
    "publishes": {"publish", "broadcast"},
    "reads": {"presence", "presence_stats", "history", "channels", "info"},
    "key": set(METHODS) - {"batch"},
}


class Done:
    """Methods that do nothing and succeed."""

    async def call(self, *_: object) -> Empty:
        return Empty()


@pytest.mark.parametrize("key", REACHED)
async def test_a_key_reaches_the_methods_of_its_scope_by_every_way(tally: Tally, key: str) -> None:
    app = make_application(api(tally, Done()).routes())
    for method in set(METHODS) - {"batch"}:
        ways = (
            (f"/api/{method}", b"{}"),
            ("/api", msgspec.json.encode({"method": method, "params": {}})),
            ("/api/batch", msgspec.json.encode({"commands": [{method: {}}]})),
            ("/api", msgspec.json.encode({"method": "batch", "params": {"commands": [{"publish": {}, method: {}}]}})),
        )
        for path, body in ways:
            call = Call(app, body=body, headers={"X-API-Key": key}, path=path)
            reached = method in REACHED[key] and (b'"publish"' not in body or "publish" in REACHED[key])
            assert await call.answered() == (200 if reached else 403), (path, body)


async def test_a_refusal_names_the_key_s_owner_and_the_scope_that_is_needed(app: ASGIApp, tally: Tally) -> None:
    call = Call(app, body=b"{", complete=False, headers={"X-API-Key": "publishes"}, path="/api/history")
    assert await call.answered() == 403, "its body is not waited for"
    assert msgspec.json.decode(call.body) == {
        "error": {
            "code": 403,
            "message": 'history needs an API key of the scope "read" or "all"; that of "shop" is "publish"',
        }
    }
    assert tally.api_calls == {("history", 403): 1}


def test_a_connection_with_too_many_requests_at_once_counts_if_they_are_calls(tally: Tally) -> None:
    edge = api(tally)
    for path in ("/api/publish", "/api", "/api/nonsense", "/metrics", "/apiary"):
        edge.pipelined(path)
    assert tally.api_calls == {("publish", 429): 1, ("unknown", 429): 2}
