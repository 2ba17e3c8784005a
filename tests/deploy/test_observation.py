"""`make up OBSERVE=1`: what Prometheus is told about the processes of the local stack, and what to do without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.local import observation
from deploy.local.settings import Folders, LocalStackError, Plan, plan_from


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with programs of Debian's names."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("prometheus", "prometheus-alertmanager"):
        (folder / name).touch(mode=0o755)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path)
    made.run.mkdir(parents=True)
    return made


def targets(folders: Folders) -> dict[str, dict[str, str]]:
    """Job -> name of a process -> its address, as Prometheus reads them."""
    return {
        path.stem: {one["labels"]["instance"]: one["targets"][0] for one in json.loads(path.read_text())}
        for path in (folders.run / "observe/targets").iterdir()
    }


def test_prometheus_knows_every_process_by_its_name(installed: Path, folders: Folders) -> None:
    plan = plan_from({"OBSERVE": "1", "PATH": str(installed), "EDGE_PORT": "7001", "EDGES": "3"})
    observation.write(plan, folders)
    assert targets(folders) == {
        "edge": {"edge-1": "127.0.0.1:7001", "edge-2": "127.0.0.1:7002", "edge-3": "127.0.0.1:7003"},
        "sessions": {"sessions": "127.0.0.1:8201"},
        "metrics": {"metrics": "127.0.0.1:8301"},
        "traefik": {"traefik": "127.0.0.1:8001"},
        "alertmanager": {"alertmanager": "127.0.0.1:9093"},
    }
    config = (folders.run / "observe/prometheus.yml").read_text()
    assert all(f"targets/{job}.json" in config for job in targets(folders))
    assert list((folders.run / "observe/rules").glob("*.yml"))


def test_edges_that_come_and_go_are_scraped_while_they_are_there(installed: Path, folders: Folders) -> None:
    plan = plan_from({"OBSERVE": "1", "PATH": str(installed), "EDGES": "3"})
    observation.write(plan, folders)
    assert list(targets(folders)["edge"]) == ["edge-1", "edge-2", "edge-3"]
    observation.write_edges(plan, folders, [1])
    assert targets(folders)["edge"] == {"edge-1": "127.0.0.1:8101"}


def test_without_alertmanager_prometheus_sends_alerts_to_nobody(installed: Path, folders: Folders) -> None:
    (installed / "prometheus-alertmanager").unlink()
    plan = plan_from({"OBSERVE": "1", "PATH": str(installed)})
    observation.write(plan, folders)
    assert targets(folders)["alertmanager"] == {}
    assert [program.name for program in observation.programs(plan, folders)] == ["prometheus"]


def test_without_prometheus_up_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match="apt-get install prometheus prometheus-alertmanager"):
        plan_from({"OBSERVE": "1", "PATH": str(tmp_path)})


@pytest.mark.parametrize("value", ["", "0", "no"])
def test_nothing_of_it_runs_unless_asked_for(value: str, installed: Path, folders: Folders) -> None:
    plan = plan_from({"OBSERVE": value, "PATH": str(installed)})
    observation.write(plan, folders)
    assert plan == Plan()
    assert observation.programs(plan, folders) == []
    assert not (folders.run / "observe").exists()
    assert not {9090, 9093} & {port for port, _, _ in plan.listeners()}


def test_its_ports_are_checked_as_the_others_are(installed: Path) -> None:
    asked = {"OBSERVE": "1", "PATH": str(installed), "PROMETHEUS_PORT": "8301"}
    with pytest.raises(LocalStackError, match="change PROMETHEUS_PORT"):
        plan_from(asked)
    assert plan_from(asked | {"PROMETHEUS_PORT": "9999"}).ports.prometheus == 9999
