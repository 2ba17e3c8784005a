"""The backends that the settings name: each is measured under its own name."""

from __future__ import annotations

import pytest

from services.edge.backend.backend import BackendAway, Caller
from services.edge.backend.configured_backends import configured_backends
from services.edge.backend_settings import BackendSettings, RPCSection
from services.edge.settings import EdgeSettings
from services.edge.tally import Tally
from tests.support.function_backend import FunctionBackend
from tests.support.http_backend import answer, http_double


async def test_each_backend_is_asked_and_counted_by_its_name() -> None:
    tally = Tally()
    async with http_double(lambda asked: answer({"result": {"data": 1}})) as double:
        app = BackendSettings(name="app", url=double.url)
        settings = EdgeSettings(backends=[app], rpc=RPCSection(backend="app"))
        made = configured_backends(settings, FunctionBackend(), tally, lambda: 0.0, lambda: 0.0)
        assert made.backends.names == ["nats", "app"]
        assert await made.backends.call("greet", b"", Caller(), 10.0) == b"1"
        double.answers, double.closes = lambda asked: b"", True
        with pytest.raises(BackendAway):
            await made.backends.named("app").ask("publish", b"{}", Caller(), 10.0)
        with pytest.raises(BackendAway):
            await made.backends.named("nats").ask("publish", b"{}", Caller(), 10.0)
        await made.close()
    assert tally.backend_failures == {("app", "hook.publish", "away"): 1, ("nats", "hook.publish", "no_responders"): 1}
    assert set(tally.timings.backend_seconds.by_label) == {("app", "rpc")}
