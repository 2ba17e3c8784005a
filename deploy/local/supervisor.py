"""What supervisord reports about its processes, and how to start and stop one of them."""

from __future__ import annotations

import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

BACKOFF = "BACKOFF"
"""The process has ended within a second of its start; supervisord is about to start it again."""

EDGES_GROUP = "edges"


class SupervisorAway(Exception):
    """supervisord does not answer."""


class SupervisorRefused(Exception):
    """supervisord refuses a call; the text is its reason."""


@dataclass(frozen=True)
class State:
    """One process. `trouble` says why it could not be started, "" if it could."""

    name: str
    state: str  # supervisord's: STARTING, RUNNING, BACKOFF, STOPPED, ...
    pid: int
    since: int  # when it was last started, in Unix seconds
    trouble: str


def states(socket: Path) -> list[State]:
    """What supervisord reports about its processes. Raises `SupervisorAway`."""
    answer = _call(socket, lambda supervisor: supervisor.getAllProcessInfo())
    assert isinstance(answer, list)
    return [
        State(str(one["name"]), str(one["statename"]), int(one["pid"]), int(one["start"]), str(one["spawnerr"]))
        for one in answer
    ]


def start_edge(socket: Path, name: str) -> None:
    """Starts one edge, and does not wait for it. Raises `SupervisorAway`, `SupervisorRefused`."""
    _call(socket, lambda supervisor: supervisor.startProcess(f"{EDGES_GROUP}:{name}", False))


def stop_edge(socket: Path, name: str) -> None:
    """Tells one edge to drain and to end, and does not wait for it. Raises like `start_edge`."""
    _call(socket, lambda supervisor: supervisor.stopProcess(f"{EDGES_GROUP}:{name}", False))


def _call(socket: Path, method: Callable[[Any], object]) -> object:
    transport = SupervisorTransport(None, None, f"unix://{socket}")
    proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
    try:
        return method(proxy.supervisor)
    except xmlrpc.client.Fault as fault:
        raise SupervisorRefused(fault.faultString) from None
    except (OSError, xmlrpc.client.Error, ValueError) as error:
        raise SupervisorAway(str(error)) from None
    finally:
        transport.close()
