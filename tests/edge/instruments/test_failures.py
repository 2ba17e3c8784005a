"""What an edge exposes of its failures; each part's own tests make the failures."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry

from proto.events import Opened
from services.chassis.metrics.page import Page, PageCollector
from services.chassis.process.settings import Duration
from services.edge.backend import backend
from services.edge.broker.in_flight import InFlight
from services.edge.channel_settings import ChannelSection, Namespace
from services.edge.channels.namespaces import Namespaces
from services.edge.client_settings import ClientSection
from services.edge.instruments.catalog import EDGE_SERIES
from services.edge.instruments.failure_catalog import FAILURE_SERIES
from services.edge.instruments.failures import FailureMetrics
from services.edge.server_api.answers import METHODS
from services.edge.session_log import NoSessionLog
from services.edge.tally import UPGRADE_CAUSES
from services.edge.tokens.configured_keys import key_sets
from services.edge.tokens.jwks_fetchers import JwksFetchers
from tests.support.cluster import START, TestEdge


class OneWaits(NoSessionLog):
    """A session log whose only fact is not stored."""

    problem = "stream SESSIONS"
    oldest_at = Opened(at=int(START * 1000) - 2500, connection="c", user="u").at


def metrics(edge: TestEdge, endpoint: str = "") -> FailureMetrics:
    section = ClientSection(token_jwks_public_endpoint=endpoint)
    fetchers = JwksFetchers(section, key_sets(section), lambda: 7.0)
    return FailureMetrics(edge.context, edge.broker, InFlight(10, 0), OneWaits(), fetchers, METHODS)


def value(of: FailureMetrics, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(PageCollector(EDGE_SERIES, of.fill))
    return registry.get_sample_value(f"fairlead_edge_{name}", labels)


async def test_every_series_without_labels_has_a_value_and_known_causes_are_0_from_the_start(a: TestEdge) -> None:
    page = Page(EDGE_SERIES)
    metrics(a).fill(page)
    said = {one.name for one in page.families() if one.samples}
    assert {one.name for one in FAILURE_SERIES if not one.labels} <= said
    assert value(metrics(a), "publishes_failed_total", cause="storage") == 0
    kinds = {kind: value(metrics(a), "streams_unavailable", namespace="", kind=kind) for kind in ("keys", "sessions")}
    assert kinds == {"keys": 0, "sessions": 1}
    assert value(metrics(a, "http://127.0.0.1:1/"), "jwks_fetches_total", result="failed") == 0


async def test_the_streams_of_a_namespace_have_a_value_from_when_a_reload_brings_it(a: TestEdge) -> None:
    of, labels = metrics(a), {"namespace": "fresh", "kind": "history"}
    assert value(of, "streams_unavailable", **labels) is None
    fresh = Namespace(name="fresh", history_size=1, history_ttl=Duration(60))
    a.context.current.replace(replace(a.context.policy, namespaces=Namespaces(ChannelSection(namespaces=[fresh]))))
    assert value(of, "streams_unavailable", **labels) == 0


@pytest.mark.parametrize("cause", UPGRADE_CAUSES)
async def test_the_first_clients_that_are_refused_for_a_cause_are_an_increase(a: TestEdge, cause: str) -> None:
    assert value(metrics(a), "upgrades_refused_total", cause=cause) == 0
    a.tally.refused_upgrade(cause)
    assert value(metrics(a), "upgrades_refused_total", cause=cause) == 1


def test_every_cause_of_a_refused_upgrade_is_explained() -> None:
    (series,) = [one for one in FAILURE_SERIES if one.name == "fairlead_edge_upgrades_refused"]
    explained = set(re.findall(r"`([a-z_]+)`", series.meaning))  # limits are explained by one of them
    assert explained == {cause for cause in UPGRADE_CAUSES if "." not in cause}


@pytest.mark.parametrize("call", ["rpc", "hook.connect", "hook.subscribe", "hook.publish", "hook.refresh"])
async def test_the_first_questions_to_a_backend_that_fail_are_an_increase(a: TestEdge, call: str) -> None:
    for cause in get_args(backend.FailureCause):
        assert value(metrics(a), "backend_failures_total", backend="nats", call=call, cause=cause) == 0


async def test_the_first_calls_of_the_server_api_that_this_edge_cannot_do_are_an_increase(a: TestEdge) -> None:
    for method in METHODS:
        for code in ("0", "100", "111"):
            assert value(metrics(a), "api_calls_total", method=method, code=code) == 0
    a.tally.api_calls["publish", 100] += 3
    assert value(metrics(a), "api_calls_total", method="publish", code="100") == 3


@pytest.mark.parametrize("kind", ["connect", "subscribe", "publish", "rpc", "presence_stats", "send"])
async def test_the_first_commands_that_this_edge_cannot_do_are_an_increase(a: TestEdge, kind: str) -> None:
    for code in ("0", "100", "111"):
        assert value(metrics(a), "commands_total", type=kind, code=code) == 0
    a.context.policy.commands[kind, 100] += 5000
    assert value(metrics(a), "commands_total", type=kind, code="100") == 5000


async def test_the_age_of_the_oldest_session_event(a: TestEdge) -> None:
    assert value(metrics(a), "session_events_oldest_seconds") == 2.5
    a.clock.ahead_s = -10
    assert value(metrics(a), "session_events_oldest_seconds") == 0, "the wall clock was set back"


async def test_codes_that_backends_choose_share_a_label(a: TestEdge) -> None:
    for code in (0, 107, 401, 1234, 1235):
        a.tally.api_calls["rpc", code] += 1
    of = metrics(a)
    assert [value(of, "api_calls_total", method="rpc", code=code) for code in ("0", "107", "401", "1234")] == [
        1,
        1,
        1,
        None,
    ]
    assert value(of, "api_calls_total", method="rpc", code="other") == 2


async def test_backends_have_a_histogram_by_call(a: TestEdge) -> None:
    a.tally.timings.backend_seconds.of("nats", "hook.connect").observe(0.3)
    a.tally.backend_failed("nats", "hook.connect", "bad_answer")
    of, labels = metrics(a), {"backend": "nats", "call": "hook.connect"}
    assert value(of, "backend_seconds_sum", **labels) == 0.3
    assert value(of, "backend_failures_total", cause="bad_answer", **labels) == 1
