"""`make up EDGES=auto`: its variables, and what supervisord, Traefik and Prometheus are told."""

from __future__ import annotations

import configparser
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local import configuration, observation, readiness, record, routes, secrets_file
from deploy.local.settings import Folders, LocalStackError, Plan, plan_from
from deploy.processes.postgres import Privilege

AUTO = {"EDGES": "auto", "EDGES_MIN": "2", "EDGES_MAX": "4"}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path)
    made.run.mkdir(parents=True)
    return made


def supervised(plan: Plan, folders: Folders) -> dict[str, dict[str, str]]:
    """Section of supervisord's file -> its values."""
    parser = configparser.RawConfigParser()
    parser.read(configuration.write(plan, folders, Privilege.find()))
    return {name: dict(parser[name]) for name in parser.sections()}


def servers(folders: Folders) -> tuple[list[str], list[str]]:
    """The edges that Traefik sends HTTP and TCP to."""
    read: Any = yaml.safe_load((folders.run / "routes.yaml").read_text())
    http, tcp = (read[kind]["services"]["edges"]["loadBalancer"]["servers"] for kind in ("http", "tcp"))
    return [one["url"] for one in http], [one["address"] for one in tcp]


@pytest.mark.parametrize(
    ("environ", "bounds"),
    [
        ({"EDGES": "auto"}, (2, 6)),
        ({"EDGES": " auto ", "EDGES_MIN": "1"}, (1, 6)),
        ({"EDGES": "auto", "EDGES_MIN": "3", "EDGES_MAX": "3"}, (3, 3)),
        ({"EDGES": "3"}, (0, 3)),
    ],
)
def test_bounds(environ: dict[str, str], bounds: tuple[int, int]) -> None:
    plan = plan_from(environ)
    assert (plan.edges_min, plan.edges) == bounds
    assert len(plan.edge_ports) == bounds[1]  # all of them must be free
    assert plan.first_edges == (bounds[0] or bounds[1])


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"EDGES": "automatic"}, "EDGES=automatic: expected a number from 1 to 16, or auto"),
        ({"EDGES": "auto", "EDGES_MIN": "0"}, "EDGES_MIN=0: expected a number from 1 to 16"),
        ({"EDGES": "auto", "EDGES_MAX": "17"}, "EDGES_MAX=17: expected a number from 1 to 16"),
        ({"EDGES": "auto", "EDGES_MIN": "7"}, "EDGES_MIN=7 is above EDGES_MAX=6: lower the first or raise the second"),
        ({"EDGES_MAX": "4"}, "EDGES_MAX=4 is a bound for the autoscaler, which EDGES=auto starts: write EDGES=auto "),
        (AUTO | {"FAIRLEAD_CAPACITY_MAX_EDGES": "9"}, "make up sets it. Write EDGES_MAX=9, and unset FAIRLEAD_CAP"),
    ],
)
def test_nonsense_is_refused_with_what_to_write(environ: dict[str, str], said: str) -> None:
    with pytest.raises(LocalStackError) as caught:
        plan_from(environ)
    assert said in str(caught.value)


def test_the_least_start_and_the_others_wait_for_the_autoscaler(folders: Folders) -> None:
    found = supervised(plan_from(AUTO), folders)
    starts = {name: found[f"program:{name}"]["autostart"] for name in ("edge-1", "edge-2", "edge-3", "edge-4")}
    assert starts == {"edge-1": "true", "edge-2": "true", "edge-3": "false", "edge-4": "false"}
    assert found["group:edges"]["programs"] == "edge-1,edge-2,edge-3,edge-4"
    scaler = found["program:autoscaler"]
    assert scaler["autostart"] == "true"
    assert int(scaler["priority"]) > int(found["group:edges"]["priority"]), "it stops before the edges do"


def test_a_fixed_number_has_no_autoscaler_and_all_start(folders: Folders) -> None:
    found = supervised(plan_from({"EDGES": "3"}), folders)
    assert "program:autoscaler" not in found
    assert {found[f"program:edge-{n}"]["autostart"] for n in (1, 2, 3)} == {"true"}
    assert len(servers(folders)[0]) == 3
    assert "watch: false" in (folders.run / "traefik.yaml").read_text()


def test_traefik_sends_clients_to_the_edges_that_run_and_reads_again_who_they_are(folders: Folders) -> None:
    plan = plan_from(AUTO)
    supervised(plan, folders)
    traefik = yaml.safe_load((folders.run / "traefik.yaml").read_text())
    assert traefik["providers"]["file"] == {"filename": str(folders.run / "routes.yaml"), "watch": True}
    both = ["http://127.0.0.1:8101", "http://127.0.0.1:8102"], ["127.0.0.1:8151", "127.0.0.1:8152"]
    assert servers(folders) == both

    before = os.stat(folders.run / "routes.yaml").st_ino
    routes.write(plan, folders, {3, 1})
    assert servers(folders) == (
        ["http://127.0.0.1:8101", "http://127.0.0.1:8103"],
        ["127.0.0.1:8151", "127.0.0.1:8153"],
    )
    assert os.stat(folders.run / "routes.yaml").st_ino != before, "replaced, not written over while it is read"


def test_the_metrics_service_recommends_within_the_same_bounds(folders: Folders) -> None:
    secrets = {
        "POSTGRES_PASSWORD": "p",
        secrets_file.TOKEN_KEY: "t",
        secrets_file.API_KEY: "a",
    }
    told = configuration.environment(plan_from(AUTO), folders, secrets, {})
    assert (told["FAIRLEAD_CAPACITY_MIN_EDGES"], told["FAIRLEAD_CAPACITY_MAX_EDGES"]) == ("2", "4")
    assert "FAIRLEAD_CAPACITY_MIN_EDGES" not in configuration.environment(plan_from({}), folders, secrets, {})


def test_the_stack_is_ready_with_its_least_edges(folders: Folders) -> None:
    awaited = readiness.checks(plan_from(AUTO), folders)
    assert {"edge-1", "edge-2", "autoscaler"} <= awaited.keys()
    assert not {"edge-3", "edge-4"} & awaited.keys()
    assert "autoscaler" not in readiness.checks(plan_from({}), folders)


def test_an_edge_that_does_not_run_is_not_down(folders: Folders, tmp_path: Path) -> None:
    """Prometheus is not told of it, so that EdgeDown does not fire."""
    (tmp_path / "prometheus").touch(mode=0o755)
    plan = plan_from(AUTO | {"OBSERVE": "1", "PATH": str(tmp_path)})
    observation.write(plan, folders)

    def scraped() -> list[str]:
        read = json.loads((folders.run / "observe/targets/edge.json").read_text())
        return [one["labels"]["instance"] for one in read]

    assert scraped() == ["edge-1", "edge-2"]
    observation.write_edges(plan, folders, [1, 2, 3])
    assert scraped() == ["edge-1", "edge-2", "edge-3"]


def test_a_plan_and_a_look_of_the_autoscaler_are_read_as_they_were_written(folders: Folders) -> None:
    plan = plan_from(AUTO)
    record.write_plan(folders, plan)
    assert record.read_plan(folders) == plan
    assert record.read_scaling(folders) is None
    report = record.ScalingReport(at=1.0, recommended=None, problem="away", edges={"edge-1": "ready"}, last="")
    record.write_scaling(folders, report)
    assert record.read_scaling(folders) == report
    record.write_plan(folders, plan)
    assert record.read_scaling(folders) is None, "a new start knows nothing of an earlier run"
