"""Prometheus and Alertmanager beside the local stack: `make up OBSERVE=1`.

They read the files of `deploy/observe`, copied to `.fairlead/run/observe`. The addresses of the processes are in
`targets/` there: Prometheus reads these again whenever they change.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from deploy.local.settings import ROOT, Folders, Plan
from deploy.local.supervised import SupervisedProgram
from deploy.processes.ports import HOST

_SOURCE = ROOT / "deploy" / "observe"
_KEEP = ("--storage.tsdb.retention.time=15d", "--storage.tsdb.retention.size=2GB")


def programs(plan: Plan, folders: Folders) -> list[SupervisedProgram]:
    """Prometheus, and Alertmanager if it is installed; nothing without OBSERVE.

    They start first and stop last, so that they see the others come and go.
    """
    found = []
    folder = _folder(folders)
    if plan.alertmanager:
        command = [
            plan.alertmanager,
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folders.state / 'alertmanager'}",
            f"--web.listen-address={HOST}:{plan.ports.alertmanager}",
            "--cluster.listen-address=",  # it is the only one: no port for a cluster
            "--log.level=warn",
        ]
        found.append(SupervisedProgram(name="alertmanager", command=command, priority=3))
    if plan.prometheus:
        command = [
            plan.prometheus,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folders.state / 'prometheus'}",
            *_KEEP,
            f"--web.listen-address={HOST}:{plan.ports.prometheus}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ]
        found.append(SupervisedProgram(name="prometheus", command=command, priority=5))
    return found


def write(plan: Plan, folders: Folders) -> None:
    """Copies the configuration and writes the addresses of all processes; does nothing without OBSERVE."""
    if not plan.prometheus:
        return
    folder = _folder(folders)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "targets").mkdir(parents=True)
    for name in ("prometheus.yml", "alertmanager.yml"):
        shutil.copy(_SOURCE / name, folder)
    shutil.copytree(_SOURCE / "rules", folder / "rules")
    write_edges(plan, folders, range(1, plan.first_edges + 1))
    _write(folders, "sessions", {"sessions": plan.ports.sessions})
    _write(folders, "metrics", {"metrics": plan.ports.metrics})
    _write(folders, "traefik", {"traefik": plan.ports.traefik_admin})
    _write(folders, "alertmanager", {"alertmanager": plan.ports.alertmanager} if plan.alertmanager else {})


def write_edges(plan: Plan, folders: Folders, edges: Iterable[int]) -> None:
    """Writes the addresses of the edges to scrape, by number, from 1; does nothing without OBSERVE. Code that starts or
    stops an edge of the running stack calls this."""
    if plan.prometheus:
        _write(folders, "edge", {f"edge-{number}": plan.edge_ports[number - 1] for number in edges})


def _write(folders: Folders, job: str, processes: Mapping[str, int]) -> None:
    """Replaces the file in one step, as Prometheus may read it at any moment."""
    targets = [{"targets": [f"{HOST}:{port}"], "labels": {"instance": name}} for name, port in processes.items()]
    path = _folder(folders) / "targets" / f"{job}.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps(targets, indent=2) + "\n")
    os.replace(new, path)


def _folder(folders: Folders) -> Path:
    return folders.run / "observe"
