"""Traefik's routes: which edges get clients and calls. They are the routes of the containers, with this stack's
addresses."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.local.settings import ROOT, Folders, Plan
from deploy.processes.ports import HOST

_ROUTES: Final = ROOT / "deploy" / "traefik" / "routes" / "fairlead.yaml"
_DIAL_TIMEOUT: Final = "5s"  # a stopped edge refuses connections at once here, so this is for a busy machine


def path_of(folders: Folders) -> Path:
    """The file that Traefik reads; with EDGES=auto it reads it again whenever it changes."""
    return folders.run / "routes.yaml"


def write(plan: Plan, folders: Folders, edges: Iterable[int]) -> None:
    """Routes clients to these edges, by number, from 1. Replaces the file in one step, as Traefik may read it at any
    moment."""
    numbers = sorted(edges)
    assert numbers, "Traefik refuses a list without servers"
    path = path_of(folders)
    new = path.with_suffix(".new")
    new.write_text(yaml.safe_dump(_routes(plan, numbers), sort_keys=False))
    os.replace(new, path)


def _routes(plan: Plan, edges: Iterable[int]) -> dict[str, Any]:
    routes: dict[str, Any] = yaml.safe_load(_ROUTES.read_text())
    http, tcp = routes["http"], routes["tcp"]
    of_edges = [number - 1 for number in edges]
    http["services"]["edges"]["loadBalancer"]["servers"] = [
        {"url": f"http://{HOST}:{plan.edge_ports[index]}"} for index in of_edges
    ]
    http["services"]["sessions"]["loadBalancer"]["servers"] = [{"url": f"http://{HOST}:{plan.ports.sessions}"}]
    http["routers"]["traefik-api"] = {
        "entryPoints": ["admin"],
        "rule": "PathPrefix(`/api/`)",
        "service": "api@internal",
    }
    tcp["services"]["edges"]["loadBalancer"]["servers"] = [
        {"address": f"{HOST}:{plan.edge_client_ports[index]}"} for index in of_edges
    ]
    del tcp["routers"]["sockets"]["tls"]
    tcp["serversTransports"]["to-edges"]["dialTimeout"] = _DIAL_TIMEOUT
    return routes
