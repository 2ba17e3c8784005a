"""Which processes belong to the stack of this checkout, and what supervisord says about them.

A process is ours when its environment carries our mark: true also after supervisord was killed, after a restart of one
of them, and never for the stack of another checkout.
"""

from __future__ import annotations

import signal
import time
import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from supervisor.xmlrpc import SupervisorTransport

from deploy.local.configuration import EDGE_STOP_S, MARK
from deploy.local.settings import Folders

SUPERVISORD = "supervisord"
FATAL = "FATAL"

_STOP_ORDER = ("edge-", "traefik", "metrics", "sessions", "nats", "postgres")
_POLL_S = 0.1


@dataclass(frozen=True)
class Member:
    name: str
    process: psutil.Process


def members(folders: Folders) -> list[Member]:
    """Every living process of this checkout's stack, supervisord included."""
    mark, found = str(folders.state), []
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            if environ.get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(Member(environ.get("SUPERVISOR_PROCESS_NAME", SUPERVISORD), process))
        except (psutil.Error, OSError):
            continue  # gone, or another user's
    return found


def supervisord_of(found: list[Member]) -> Member | None:
    return next((member for member in found if member.name == SUPERVISORD), None)


@dataclass(frozen=True)
class State:
    name: str
    state: str  # supervisord's: STARTING, RUNNING, BACKOFF, FATAL, ...
    pid: int
    since: int  # Unix time
    trouble: str


def states(socket: Path) -> list[State] | None:
    """What supervisord says about its processes, None while it does not answer."""
    transport = SupervisorTransport(None, None, f"unix://{socket}")
    proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
    try:
        answer = proxy.supervisor.getAllProcessInfo()
    except (OSError, xmlrpc.client.Error, ValueError):
        return None
    finally:
        transport.close()
    assert isinstance(answer, list)
    return [
        State(str(one["name"]), str(one["statename"]), int(one["pid"]), int(one["start"]), str(one["spawnerr"]))
        for one in answer
    ]


def stop_orphans(folders: Folders, say: Callable[[str], None]) -> None:
    """Ends what a supervisord that is gone has left, in the order in which it would have done it."""
    for kind in _STOP_ORDER:
        left = [member for member in members(folders) if member.name.startswith(kind)]
        for member in left:
            signal_member(member, signal.SIGINT if member.name == "postgres" else signal.SIGTERM)
        _wait_for_end(left, EDGE_STOP_S)
        for name in sorted({member.name for member in left}):
            say(name)
    kill(folders)


def kill(folders: Folders) -> list[str]:
    """Ends what is left without ceremony, supervisord first; the names of what it met."""
    met: list[str] = []
    for _ in range(3):  # a process may have started another one meanwhile
        found = sorted(members(folders), key=lambda member: member.name != SUPERVISORD)
        if not found:
            break
        met += [member.name for member in found]
        for member in found:
            signal_member(member, signal.SIGKILL)
        _wait_for_end(found, 5)
    return sorted(set(met))


def signal_member(member: Member, number: signal.Signals) -> None:
    """Sends a signal; a process that is gone already needs none."""
    try:
        member.process.send_signal(number)  # psutil makes sure that the pid has not been given to another process
    except psutil.Error:
        return


def _wait_for_end(found: list[Member], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = [m for m in found if m.process.is_running() and m.process.status() != psutil.STATUS_ZOMBIE]
        if not found:
            return
        time.sleep(_POLL_S)
