"""`python -m deploy.local.autoscaler`: starts edges of the running local stack under load, and drains them when it
falls.

One loop: once a second it asks the metrics service how many edges to run, supervisord which edges run, and each of
these whether it is ready; `scaling` decides. With EDGES=auto supervisord starts this process last, and stops it first,
so that no edge starts while the stack stops.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from deploy.local import configuration, observation, readiness, recommendation, record, routes, supervisor
from deploy.local.recommendation import Recommendation
from deploy.local.scaling import Change, EdgeState, Scaling
from deploy.local.settings import Folders, Plan
from deploy.local.supervisor import State, SupervisorAway, SupervisorRefused
from services.chassis.process import log as process_log
from services.chassis.process.settings import LogSettings

log = logging.getLogger(__name__)

_PERIOD_S: Final = 1.0

_STATES: Final = {
    "STOPPED": EdgeState.stopped,
    "STOPPING": EdgeState.draining,
    "STARTING": EdgeState.waiting,
    "RUNNING": EdgeState.waiting,  # or ready, as `/readyz` says
    "BACKOFF": EdgeState.waiting,
}
"""supervisord's states; the others mean that it has given up on the process."""


class Autoscaler:
    """Keeps the edges of the stack in `folders` at the recommended number. `ask` takes Unix time in seconds."""

    def __init__(self, plan: Plan, folders: Folders, ask: Callable[[float], Recommendation]) -> None:
        self._plan = plan
        self._folders = folders
        self._ask = ask
        self._socket = configuration.socket_path(folders)
        self._is_ready = readiness.edge_checks(plan)
        self._scaling = Scaling(plan.edges_min, plan.edges)
        self._routed: set[int] = set()
        self._scraped: set[int] = set()
        self._problem: str | None = None
        self._last = ""

    def look(self) -> None:
        """Looks once, makes at most one change, and writes the report. Raises `SupervisorAway`."""
        answer = self._ask(time.time())
        self._tell(answer)
        edges = self._states()
        change = self._scaling.decide(time.monotonic(), answer.edges, edges)
        self._point(edges, change)
        if change is not None:
            self._make(change)
        names = {f"edge-{edge}": state.value for edge, state in sorted(edges.items())}
        record.write_scaling(
            self._folders,
            record.ScalingReport(
                at=time.time(), recommended=answer.edges, problem=answer.problem, edges=names, last=self._last
            ),
        )

    def _states(self) -> dict[int, EdgeState]:
        known = {one.name: one for one in supervisor.states(self._socket)}
        return {
            number: self._state(name, known[name])
            for number, name in enumerate(self._is_ready, 1)
            if name in known
        }  # fmt: skip

    def _state(self, name: str, seen: State) -> EdgeState:
        if seen.state == "RUNNING" and self._is_ready[name]():
            return EdgeState.ready
        return _STATES.get(seen.state, EdgeState.failed)

    def _point(self, edges: Mapping[int, EdgeState], change: Change | None) -> None:
        """Routes clients to the edges that have been ready, except one that is about to stop; has Prometheus scrape all
        that run."""
        leaving = change.edge if change is not None and change.action == "stop" else None
        routed = {
            edge
            for edge, state in edges.items()
            if edge != leaving and (state is EdgeState.ready or (state is EdgeState.waiting and edge in self._routed))
        }
        if routed and routed != self._routed:
            routes.write(self._plan, self._folders, routed)
            self._routed = routed
        scraped = {edge for edge, state in edges.items() if state is not EdgeState.stopped}
        if scraped != self._scraped:
            observation.write_edges(self._plan, self._folders, sorted(scraped))
            self._scraped = scraped

    def _make(self, change: Change) -> None:
        name = f"edge-{change.edge}"
        act = supervisor.start_edge if change.action == "start" else supervisor.stop_edge
        try:
            act(self._socket, name)
        except SupervisorRefused as refused:
            log.warning("supervisord does not %s %s: %s. Its log: make logs", change.action, name, refused)
            return
        doing = "starting" if change.action == "start" else "draining"
        self._last = f"{doing} {name}: {change.reason}"
        log.info("%s", self._last)

    def _tell(self, answer: Recommendation) -> None:
        if answer.problem != self._problem:
            if answer.problem:
                log.info("the number of edges stays as it is: %s", answer.problem)
            elif self._problem:
                log.info("edges recommended: %s", answer.edges)
            self._problem = answer.problem


def main() -> int:
    """Runs until a signal ends it."""
    folders = Folders()
    process_log.configure(LogSettings(), "autoscaler")
    plan = record.read_plan(folders)
    if plan is None or not plan.autoscaled:
        log.error("no stack with EDGES=auto runs here. To start one: make up EDGES=auto")
        return 1
    port = plan.ports.metrics
    scaler = Autoscaler(plan, folders, lambda now: recommendation.ask(port, now))
    log.info("keeping %d to %d edges, as the metrics service recommends", plan.edges_min, plan.edges)
    away = False
    while True:
        try:
            scaler.look()
            away = False
        except SupervisorAway as error:
            if not away:
                log.warning("supervisord does not answer, so no edge starts or stops: %s. make down, make up", error)
            away = True
        time.sleep(_PERIOD_S)


if __name__ == "__main__":
    sys.exit(main())
