"""Traefik's routes: which edges get clients and calls."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from string import Template

from deploy.local.settings import Folders, Plan
from deploy.processes.ports import HOST

_TEMPLATE = Path(__file__).with_name("templates") / "routes.yaml"


def path_of(folders: Folders) -> Path:
    """The file that Traefik reads; with EDGES=auto it reads it again whenever it changes."""
    return folders.run / "routes.yaml"


def write(plan: Plan, folders: Folders, edges: Iterable[int]) -> None:
    """Sends clients to these edges, by number, from 1. The file is replaced at once: Traefik may read it any moment."""
    numbers = sorted(edges)
    assert numbers, "Traefik refuses a list without servers"
    text = Template(_TEMPLATE.read_text()).substitute(
        sessions_port=plan.ports.sessions,
        edge_servers=_lines("url", (f"http://{HOST}:{plan.edge_ports[number - 1]}" for number in numbers)),
        edge_sockets=_lines("address", (f"{HOST}:{plan.edge_client_ports[number - 1]}" for number in numbers)),
    )
    path = path_of(folders)
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def _lines(key: str, addresses: Iterable[str]) -> str:
    return "\n".join(f'          - {key}: "{address}"' for address in addresses)
