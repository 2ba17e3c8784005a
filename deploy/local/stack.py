"""Starts and stops the whole stack, and reports its progress."""

from __future__ import annotations

import contextlib
import fcntl
import resource
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from deploy.local import configuration, logs, members, ports, readiness, record, secrets_file, supervisor
from deploy.local.members import Member
from deploy.local.settings import Folders, LocalStackError, Plan, given_in
from deploy.processes import postgres
from deploy.processes.process import TAIL_LINES, Process, Program, tail

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 85.0
"""Seven stages of at most 10 s, and the edges' stage of 15 s."""

_FAILED_STARTS = 3
"""After this many ends within a second of its start a process will not start: its configuration or code is wrong."""

_POLL_S = 0.1


class Stack:
    """The stack of one checkout. `report` is called with each line of progress."""

    def __init__(self, folders: Folders, report: Callable[[str], None]) -> None:
        self._folders = folders
        self._report = report

    # --- up -------------------------------------------------------------------------------------------------------

    def running(self) -> Plan | None:
        """The stack that runs now; None if no supervisord of this checkout does."""
        if members.supervisord(self._folders) is None:
            return None
        return record.read_plan(self._folders) or Plan()

    def alive(self) -> Callable[[], bool]:
        """Returns a cheap check whether the stack that runs now still runs."""
        daemon = members.supervisord(self._folders)
        return lambda: daemon is not None and daemon.is_running

    def up(self, plan: Plan, caller: Mapping[str, str]) -> dict[Path, int]:
        """Starts everything and waits until it is ready. Returns the sizes that the logs had before.

        Raises `LocalStackError` or `ProcessError` if the stack does not get ready; everything is then stopped again.
        """
        with self._alone():
            self._clear_orphans()
            ports.require_free(plan, given_in(caller))
            for folder in (self._folders.run, self._folders.logs, self._folders.nats):
                folder.mkdir(parents=True, exist_ok=True)
            secrets = secrets_file.ensure(self._folders.secrets)
            configuration.check(configuration.environment(plan, self._folders, secrets, caller))
            privilege = postgres.Privilege.find()
            if not self._folders.postgres.exists():
                self._report("making a PostgreSQL database in .fairlead/postgres (once)")
            postgres.ensure_database(privilege, self._folders.postgres, secrets[secrets_file.POSTGRES_PASSWORD])
            config = configuration.write(plan, self._folders, privilege)
            record.write_plan(self._folders, plan)
            record.write_given(self._folders, caller)
            since = logs.sizes(self._folders)
            try:
                daemon = self._launch(config, configuration.environment(plan, self._folders, secrets, caller))
                self._wait_until_ready(plan, daemon, since)
            except BaseException:  # even for Ctrl-C: nothing half-started stays
                self._stop()
                raise
            return since

    def _launch(self, config: Path, environment: Mapping[str, str]) -> Process:
        limit = configuration.open_files()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (limit, hard)
        )  # the usual soft limit of 1024 allows only 1,000 clients
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)]
        output = self._folders.run / "supervisord.out"
        output.unlink(missing_ok=True)
        # In a group of its own, so that Ctrl-C reaches only this process, which then stops supervisord in order.
        program = Program("supervisord", command, folder=self._folders.root)
        daemon = Process(program, output, environ=environment, own_group=True)
        daemon.start()
        return daemon

    def _wait_until_ready(self, plan: Plan, daemon: Process, since: Mapping[Path, int]) -> None:
        waiting = readiness.checks(plan, self._folders)
        socket = configuration.socket_path(self._folders)
        failures: defaultdict[str, set[int]] = defaultdict(set)
        while waiting:
            for name in [name for name, is_ready in waiting.items() if is_ready()]:
                del waiting[name]
                self._report(f"  {name:<10} ready    {time.monotonic() - daemon.started_at:4.1f} s")
            if not daemon.is_running:
                raise daemon.early_end()
            states = _states(socket)
            for s in states:
                if s.state == supervisor.BACKOFF:
                    failures[s.name].add(s.since)
            broken = [s for s in states if len(failures[s.name]) >= _FAILED_STARTS and s.name in waiting]
            if broken:
                raise LocalStackError(
                    "\n\n".join(self._last_words(s.name, "does not start", s.trouble, since) for s in broken)
                )
            if waiting and time.monotonic() - daemon.started_at > READY_TIMEOUT_S:
                late = [self._last_words(n, f"is not ready after {READY_TIMEOUT_S:.0f} s", "", since) for n in waiting]
                raise LocalStackError("\n\n".join(late))
            time.sleep(_POLL_S)

    def _last_words(self, name: str, trouble: str, detail: str, since: Mapping[Path, int]) -> str:
        path = self._folders.logs / f"{name}.log"
        lines = tail(path, TAIL_LINES, since.get(path, 0)) or [detail or "(the log is empty)"]
        where = path.relative_to(self._folders.root)
        return "\n".join([f"{name} {trouble}. The end of {where}:", *(f"    {line}" for line in lines)])

    def _clear_orphans(self) -> None:
        if members.members(self._folders):
            self._report("an earlier stack of this checkout was not stopped properly; stopping what it left")
            members.stop_orphans(self._folders, lambda name: self._report(f"  {name:<10} stopped"))

    # --- down -----------------------------------------------------------------------------------------------------

    def down(self) -> bool:
        """Drains and stops everything; False if nothing ran. Raises `LocalStackError` if a process does not end."""
        if not members.members(self._folders):
            return False
        with self._alone():
            self._stop()
        return True

    def _stop(self) -> None:
        found = members.members(self._folders)
        daemon = next((member for member in found if member.name == members.SUPERVISORD), None)
        if daemon is None:
            if found:
                self._report("supervisord is gone; stopping what it left")
            members.stop_orphans(self._folders, lambda name: self._report(f"  {name:<10} stopped"))
        else:
            members.signal_member(daemon, signal.SIGTERM)
            self._report_ends(found)
        killed = members.kill(self._folders)
        if killed:
            self._report(f"killed, because it did not end by itself: {', '.join(killed)}")
        if left_over := members.scan(self._folders):
            pids = ", ".join(f"{member.name} ({member.process.pid})" for member in left_over)
            raise LocalStackError(f"still running, and this user may not kill it: {pids}")
        record.remove(self._folders)
        configuration.socket_path(self._folders).unlink(missing_ok=True)

    def _report_ends(self, found: list[Member]) -> None:
        """Waits until these processes end, and reports each; supervisord, which ends last, is not reported."""
        started = time.monotonic()
        while found and time.monotonic() - started < STOP_TIMEOUT_S:
            time.sleep(_POLL_S)
            left = [member for member in found if member.is_running]
            for name in sorted({member.name for member in found} - {member.name for member in left}):
                if name != members.SUPERVISORD:
                    self._report(f"  {name:<10} stopped  {time.monotonic() - started:4.1f} s")
            found = left

    # --- files ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Lets one `up` or `down` of this checkout work at a time."""
        self._folders.state.mkdir(mode=0o700, parents=True, exist_ok=True)  # logs and data, besides secrets
        with (self._folders.state / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LocalStackError("another make up or make down of this checkout is running") from None
            yield


def _states(socket: Path) -> list[supervisor.State]:
    """What supervisord reports; nothing while it does not answer yet."""
    try:
        return supervisor.states(socket)
    except supervisor.SupervisorAway:
        return []
