"""Puts what fails on an edge, and why, on the page that Prometheus reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from itertools import product
from typing import Final, TypeVar, get_args

from proto import codes, subjects
from services.chassis.metrics.page import Page
from services.edge.backend import backend
from services.edge.broker.broker import Broker, FailureCause
from services.edge.broker.in_flight import InFlight
from services.edge.connection.context import EdgeContext
from services.edge.session.command_kinds import KINDS
from services.edge.session_log import SessionLog
from services.edge.tally import UPGRADE_CAUSES
from services.edge.tokens.jwks_fetchers import JwksFetchers

T = TypeVar("T", bound=Hashable)

_KNOWN_CODES: Final = frozenset(
    [code.code for code in vars(codes).values() if isinstance(code, codes.ErrorCode | codes.CloseCode)]
    + [0, 401, 408, 413, 429]
)
_BACKEND_CALLS: Final = ("rpc", *(subjects.hook(event) for event in backend.HOOK_EVENTS))
EDGE_ERRORS: Final = (codes.INTERNAL.code, codes.TOO_MANY_REQUESTS.code)
"""The errors of an edge that is in trouble."""
_EXPECTED_CODES: Final = (0, *EDGE_ERRORS)
"""Codes that every kind of command, and every method of the server API, has from the start. With all codes there would
be hundreds of series."""


class FailureMetrics:
    """Reads the parts of an edge at each scrape. `api_methods` are the methods of the server API."""

    def __init__(
        self,
        context: EdgeContext,
        broker: Broker,
        in_flight: InFlight,
        session_log: SessionLog,
        fetchers: JwksFetchers,
        api_methods: Collection[str],
    ) -> None:
        self._context = context
        self._broker = broker
        self._in_flight = in_flight
        self._session_log = session_log
        self._fetchers = fetchers
        self._api_methods = api_methods

    def fill(self, page: Page) -> None:
        """Puts the values of `failure_catalog.FAILURE_SERIES`. Every cause has the value 0 from the start, so that the
        first failure is an increase. Among codes, only `_EXPECTED_CODES` do.
        """
        self._put_nats(page)
        self._put_calls(page)
        self._put_keys(page)

    def _put_nats(self, page: Page) -> None:
        failed = self._context.tally.publishes_failed
        for cause in get_args(FailureCause):
            page.put("fairlead_edge_publishes_failed", failed[cause], cause)
        page.put_histogram("fairlead_edge_publish_ack_seconds", self._in_flight.ack_seconds)
        health = self._broker.health
        page.put("fairlead_edge_streams_unanswered", len(health.unanswered))
        page.put("fairlead_edge_streams_not_storing", health.not_storing)
        histories = self._context.policy.namespaces.with_history
        kinds = [("", "keys"), ("", "marks"), *((each, "history") for each in histories)]
        for labels, count in with_zeros(kinds, health.unavailable()).items():
            page.put("fairlead_edge_streams_unavailable", count, *labels)
        page.put("fairlead_edge_streams_unavailable", self._session_log.problem is not None, "", "sessions")
        oldest_at = self._session_log.oldest_at
        age_s = 0.0 if oldest_at is None else max(0.0, self._context.clock.unix() - oldest_at / 1000)
        page.put("fairlead_edge_session_events_oldest_seconds", age_s)

    def _put_calls(self, page: Page) -> None:
        tally = self._context.tally
        commands = Counter({(kind, str(code)): 0 for kind in KINDS for code in _EXPECTED_CODES})
        commands.update({(kind, "0"): count for kind, count in tally.commands.items()})
        for (kind, code), count in self._context.policy.commands.items():
            commands[kind, shown(code)] += count
        for labels, count in commands.items():
            page.put("fairlead_edge_commands", count, *labels)
        calls = Counter({(method, str(code)): 0 for method in self._api_methods for code in _EXPECTED_CODES})
        for (method, code), count in tally.api_calls.items():  # backends may answer an RPC with any code
            calls[method, shown(code)] += count
        for labels, count in calls.items():
            page.put("fairlead_edge_api_calls", count, *labels)
        page.put_histograms("fairlead_edge_api_call_seconds", tally.timings.api_call_seconds)
        for cause, count in with_zeros(UPGRADE_CAUSES, tally.upgrades_refused).items():
            page.put("fairlead_edge_upgrades_refused", count, cause)
        for asked, histogram in tally.timings.backend_seconds.by_label.items():
            page.put_histogram("fairlead_edge_backend_seconds", histogram, *asked)
        causes = product(self._context.backends.names, _BACKEND_CALLS, get_args(backend.FailureCause))
        for question, count in with_zeros(causes, tally.backend_failures).items():
            page.put("fairlead_edge_backend_failures", count, *question)

    def _put_keys(self, page: Page) -> None:
        fetchers = self._fetchers
        if fetchers.any:
            for result in ("good", "failed"):
                page.put("fairlead_edge_jwks_fetches", fetchers.fetches[result], result)
        page.put("fairlead_edge_jwks_age_seconds", fetchers.age_s)


def shown(code: int) -> str:
    """The label of a code: "other" for a code that is not the edge's own."""
    return str(code) if code in _KNOWN_CODES else "other"


def with_zeros(known: Iterable[T], counted: Counter[T]) -> Counter[T]:
    """The counts, with 0 for all of `known` that has not happened."""
    counts = Counter(dict.fromkeys(known, 0))
    counts.update(counted)
    return counts
