"""Which processes belong to the stack of this checkout.

A process belongs to the stack if its environment has our mark: this works after supervisord was killed and after a
process was restarted, and never takes the stack of another checkout for this one.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

from deploy.local.configuration import EDGE_STOP_S, MARK
from deploy.local.settings import Folders

SUPERVISORD = "supervisord"

_STOP_ORDER = (
    "autoscaler",
    "edge-",
    "traefik",
    "metrics",
    "sessions",
    "nats",
    "postgres",
    "prometheus",
    "alertmanager",
)
_POLL_S = 0.1


@dataclass(frozen=True)
class Member:
    name: str
    process: psutil.Process

    @property
    def is_running(self) -> bool:
        """False for a zombie too: `make up` does not wait for its child supervisord while it shows the log."""
        try:
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def members(folders: Folders) -> list[Member]:
    """Every living process of this checkout's stack, including supervisord.

    While supervisord runs they are its descendants. If it is gone, all processes of the machine are searched.
    """
    daemon = supervisord(folders)
    if daemon is None:
        return scan(folders)
    try:
        return _marked(folders, [daemon.process, *daemon.process.children(recursive=True)])
    except psutil.Error:  # it has just ended
        return scan(folders)


def scan(folders: Folders) -> list[Member]:
    """Like `members`, but searches all processes of the machine, including those that no supervisord knows."""
    return _marked(folders, psutil.process_iter())


def supervisord(folders: Folders) -> Member | None:
    """This checkout's supervisord, by the file with its process id."""
    try:
        process = psutil.Process(int((folders.run / "supervisord.pid").read_text()))
    except (OSError, ValueError, psutil.Error):
        return None
    found = [one for one in _marked(folders, [process]) if one.name == SUPERVISORD]
    return found[0] if found else None


def _marked(folders: Folders, processes: Iterable[psutil.Process]) -> list[Member]:
    mark, found = str(folders.state), []
    for process in processes:
        try:
            environ = process.environ()
            if environ.get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(Member(environ.get("SUPERVISOR_PROCESS_NAME", SUPERVISORD), process))
        except (psutil.Error, OSError):
            continue  # gone, or another user's
    return found


def stop_orphans(folders: Folders, report: Callable[[str], None]) -> None:
    """Stops the processes that a dead supervisord has left, in the order in which it would have stopped them."""
    left = scan(folders)
    for kind in _STOP_ORDER:
        of_kind = [member for member in left if member.name.startswith(kind)]
        for member in of_kind:
            signal_member(member, signal.SIGINT if member.name == "postgres" else signal.SIGTERM)
        _wait_for_end(of_kind, EDGE_STOP_S)
        for name in sorted({member.name for member in of_kind}):
            report(name)
    kill(folders)


def kill(folders: Folders) -> list[str]:
    """Kills whatever is left, supervisord first; returns the names of what it found."""
    met: list[str] = []
    for _ in range(3):  # a process may have started another one meanwhile
        found = sorted(scan(folders), key=lambda member: member.name != SUPERVISORD)
        if not found:
            break
        met += [member.name for member in found]
        for member in found:
            signal_member(member, signal.SIGKILL)
        _wait_for_end(found, 5)
    return sorted(set(met))


def signal_member(member: Member, number: signal.Signals) -> None:
    """Sends a signal; does nothing if the process is gone."""
    try:
        member.process.send_signal(number)  # psutil makes sure that the pid has not been given to another process
    except psutil.Error:
        return


def _wait_for_end(found: list[Member], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = [member for member in found if member.is_running]
        if not found:
            return
        time.sleep(_POLL_S)
