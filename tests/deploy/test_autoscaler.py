"""The autoscaler's loop, with supervisord's answers made up: what Traefik and Prometheus are told, and when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local import autoscaler, configuration, readiness, record, supervisor
from deploy.local.autoscaler import Autoscaler
from deploy.local.recommendation import Recommendation
from deploy.local.scaling import FEWER_FOR_S
from deploy.local.settings import Folders, plan_from
from deploy.local.supervisor import State, SupervisorRefused
from deploy.processes.postgres import Privilege


class Stack:
    """Edges as supervisord and their `/readyz` show them, a clock, and what the autoscaler did, in order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folders = Folders(folder)
        self.folders.run.mkdir(parents=True)
        (folder / "prometheus").touch(mode=0o755)
        bounds = {"EDGES": "auto", "EDGES_MIN": "1", "EDGES_MAX": "3"}
        plan = plan_from(bounds | {"OBSERVE": "1", "PATH": str(folder)})
        configuration.write(plan, self.folders, Privilege.find())
        self.edges = {"edge-1": "RUNNING", "edge-2": "STOPPED", "edge-3": "STOPPED"}
        self.ready = {"edge-1"}
        self.done: list[tuple[str, str, list[str]]] = []  # what, which, and whom Traefik sent clients to at that moment
        self.refuses = ""
        self.answer = Recommendation(1, "")
        self.now = 0.0
        monkeypatch.setattr(supervisor, "states", lambda socket: [State(*one, 1, 0, "") for one in self.edges.items()])
        monkeypatch.setattr(supervisor, "start_edge", lambda socket, name: self._do("start", name, "STARTING"))
        monkeypatch.setattr(supervisor, "stop_edge", lambda socket, name: self._do("stop", name, "STOPPING"))
        monkeypatch.setattr(readiness, "edge_checks", lambda plan: {name: self._check(name) for name in self.edges})
        monkeypatch.setattr("deploy.local.autoscaler.time.monotonic", lambda: self.now)
        self.autoscaler = Autoscaler(plan, self.folders, lambda now: self.answer)

    def look(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.autoscaler.look()

    def routed(self) -> list[str]:
        read: Any = yaml.safe_load((self.folders.run / "routes.yaml").read_text())
        ports = [one["url"][-4:] for one in read["http"]["services"]["edges"]["loadBalancer"]["servers"]]
        return [f"edge-{int(port) - 8100}" for port in ports]

    def scraped(self) -> list[str]:
        read = json.loads((self.folders.run / "observe/targets/edge.json").read_text())
        return [one["labels"]["instance"] for one in read]

    def _do(self, what: str, name: str, state: str) -> None:
        if self.refuses:
            raise SupervisorRefused(self.refuses)
        self.done.append((what, name, self.routed()))
        self.edges[name] = state

    def _check(self, name: str) -> Any:
        return lambda: name in self.ready


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    return Stack(tmp_path, monkeypatch)


def test_clients_are_sent_to_an_edge_when_it_is_ready_and_no_more_before_it_is_told_to_stop(stack: Stack) -> None:
    stack.look()
    assert (stack.done, stack.routed(), stack.scraped()) == ([], ["edge-1"], ["edge-1"])

    stack.answer = Recommendation(2, "")
    stack.look()
    stack.edges["edge-2"] = "RUNNING"
    stack.look()
    assert stack.routed() == ["edge-1"], "it is not ready yet"
    assert stack.scraped() == ["edge-1", "edge-2"]
    stack.ready.add("edge-2")
    stack.look()
    assert stack.routed() == ["edge-1", "edge-2"]

    stack.answer = Recommendation(1, "")
    stack.look()
    stack.look(FEWER_FOR_S)
    assert stack.done == [("start", "edge-2", ["edge-1"]), ("stop", "edge-2", ["edge-1"])]
    stack.look()
    assert stack.scraped() == ["edge-1", "edge-2"], "how it drains is seen to the end"
    stack.edges["edge-2"] = "STOPPED"
    stack.look()
    assert stack.scraped() == ["edge-1"], "and then it is not an edge that is down"


def test_an_edge_that_was_ready_keeps_its_place_while_it_is_not(stack: Stack) -> None:
    """Traefik's own checks leave it out, sooner than this loop, and take it in again."""
    stack.look()
    stack.ready.clear()
    stack.look()
    assert stack.routed() == ["edge-1"]


def test_a_change_that_supervisord_refuses_is_logged_and_tried_again(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack.refuses = "SPAWN_ERROR"
    stack.answer = Recommendation(2, "")
    stack.look()
    assert "supervisord does not start edge-2: SPAWN_ERROR" in caplog.text
    stack.refuses = ""
    stack.look()
    assert [what[:2] for what in stack.done] == [("start", "edge-2")]


def test_what_it_saw_and_did_can_be_read(stack: Stack) -> None:
    stack.answer = Recommendation(2, "")
    stack.look()
    report = record.read_scaling(stack.folders)
    assert report is not None
    assert (report.recommended, report.last) == (2, "starting edge-2: edges running: 1, needed: 2")
    assert report.edges == {"edge-1": "ready", "edge-2": "stopped", "edge-3": "stopped"}
    stack.answer = Recommendation(None, "the metrics service does not answer: refused")
    stack.look()
    report = record.read_scaling(stack.folders)
    assert report is not None and report.problem == "the metrics service does not answer: refused"


def test_without_a_stack_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(autoscaler, "Folders", lambda: Folders(tmp_path))
    monkeypatch.setattr("deploy.local.autoscaler.process_log.configure", lambda *given: None)
    assert autoscaler.main() == 1
    assert "make up EDGES=auto" in caplog.text
