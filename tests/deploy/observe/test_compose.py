"""compose.yaml, profile `observe`: Prometheus is told where every process is, and everything that is mounted exists."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.deploy.observe.rules import OBSERVE, ROOT, read

SERVICES: dict[str, Any] = read(ROOT / "compose.yaml")["services"]
TARGETS = {path.stem: json.loads(path.read_text()) for path in (OBSERVE / "compose/targets").iterdir()}
OBSERVERS = {name: one for name, one in SERVICES.items() if "observe" in one.get("profiles", [])}


def targets(job: str) -> dict[str, str]:
    """Name -> address of each process of a job."""
    return {one["labels"]["instance"]: one["targets"][0] for one in TARGETS[job]}


def test_prometheus_reads_every_process_of_ours_at_its_default_port() -> None:
    modules = {
        name: re.search(r"services\.(\w+)", " ".join(one["command"]))
        for name, one in SERVICES.items()
        if "command" in one
    }
    ports = {"edge": 8101, "sessions": 8201, "metrics": 8301}
    for job, port in ports.items():
        ours = [name for name, module in modules.items() if module and module[1] == job]
        assert targets(job) == {name: f"{name}:{port}" for name in ours} != {}


def test_prometheus_reads_traefik_where_traefik_shows_its_series() -> None:
    flags = dict(re.findall(r"--([\w.]+)=(\S*)", "\n".join(SERVICES["traefik"]["command"])))
    entry_point = flags["metrics.prometheus.entrypoint"]
    assert targets("traefik") == {"traefik": "traefik" + flags[f"entrypoints.{entry_point}.address"]}
    published = [port.rpartition(":")[2] for port in SERVICES["traefik"]["ports"]]
    assert flags[f"entrypoints.{entry_point}.address"].strip(":") not in published


def test_the_metrics_service_knows_that_there_will_be_no_more_edges_than_there_are() -> None:
    assert SERVICES["metrics"]["environment"]["FAIRLEAD_CAPACITY_MAX_EDGES"] == len(targets("edge"))


def test_each_file_of_targets_is_read_and_each_that_is_read_is_there() -> None:
    named = set(re.findall(r"targets/(\w+)\.json", (OBSERVE / "prometheus.yml").read_text()))
    assert named == set(TARGETS)


def test_what_is_mounted_exists() -> None:
    mounted = [volume.split(":")[0] for one in OBSERVERS.values() for volume in one.get("volumes", [])]
    files = [name for name in mounted if name.startswith("./")]
    assert files and all((ROOT / name).exists() for name in files)
    assert {name for name in mounted if not name.startswith("./")} <= set(read(ROOT / "compose.yaml")["volumes"])


def test_grafana_asks_services_that_there_are_at_the_ports_that_they_have() -> None:
    sources = read(OBSERVE / "grafana/datasources.yml")["datasources"]
    for source in sources:
        name, port = source["url"].removeprefix("http://").split(":")
        assert any(published.endswith(f":{port}") for published in OBSERVERS[name]["ports"])
    (folder,) = (one["options"]["path"] for one in read(OBSERVE / "grafana/dashboards.yml")["providers"])
    assert any(volume.split(":")[1] == folder for volume in SERVICES["grafana"]["volumes"])


def test_observers_are_off_unless_asked_for_pinned_and_on_loopback() -> None:
    assert set(OBSERVERS) == {"prometheus", "alertmanager", "grafana", "jaeger"}
    for one in OBSERVERS.values():
        assert re.search(r":v?\d+\.\d+", one["image"])
        assert all(port.startswith("127.0.0.1:") for port in one["ports"])
