"""Starts and stops the whole stack, and says how it gets on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from deploy.local import configuration, logs, ports, postgres, processes, readiness, secrets_file
from deploy.local.settings import Folders, LocalStackError, Plan, Ports

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 75.0
"""Six stages of at most 10 s, the edges' of 15 s."""

_POLL_S = 0.1
_LAST_LINES = 15


class Stack:
    """The stack of one checkout. `say` gets one line of progress at a time."""

    def __init__(self, folders: Folders, say: Callable[[str], None]) -> None:
        self._folders = folders
        self._say = say

    # --- up -------------------------------------------------------------------------------------------------------

    def running(self) -> Plan | None:
        """What runs now, None when no supervisord of this checkout does."""
        if processes.supervisord_of(processes.members(self._folders)) is None:
            return None
        try:
            record = json.loads(self._record.read_text())
            return Plan(Ports(**record["ports"]), record["edges"])
        except (OSError, ValueError, KeyError, TypeError):
            return Plan()

    def alive(self) -> Callable[[], bool]:
        """A cheap answer to whether the stack that runs now still does."""
        daemon = processes.supervisord_of(processes.members(self._folders))
        return daemon.process.is_running if daemon is not None else lambda: False

    def up(self, plan: Plan, caller: Mapping[str, str]) -> dict[Path, int]:
        """Starts everything and waits until it is ready; the sizes that the logs had before.

        Raises `LocalStackError` when it does not get ready, having stopped everything again.
        """
        with self._alone():
            self._clear_orphans()
            ports.require_free(plan)
            for folder in (self._folders.run, self._folders.logs, self._folders.nats):
                folder.mkdir(parents=True, exist_ok=True)
            secrets = secrets_file.ensure(self._folders.secrets)
            configuration.check(configuration.environment(plan, self._folders, secrets, caller))
            privilege = postgres.Privilege.find()
            if not self._folders.postgres.exists():
                self._say("making a PostgreSQL database in .fairlead/postgres (once)")
            postgres.ensure_database(privilege, self._folders.postgres, secrets[secrets_file.POSTGRES_PASSWORD])
            config = configuration.write(plan, self._folders, privilege)
            self._record.write_text(json.dumps({"ports": asdict(plan.ports), "edges": plan.edges}) + "\n")
            since = logs.sizes(self._folders)
            try:
                daemon = self._launch(config, configuration.environment(plan, self._folders, secrets, caller))
                self._wait_until_ready(plan, daemon, since)
            except BaseException:  # Ctrl-C too: nothing half-started stays
                self._stop()
                raise
            return since

    def _launch(self, config: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        limit = configuration.open_files()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))  # a usual soft limit of 1024 is 1,000 clients
        with self._complaints.open("wb") as complaints:
            return subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
                cwd=self._folders.root,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C is for us: supervisord is told in order
            )

    def _wait_until_ready(self, plan: Plan, daemon: subprocess.Popen[bytes], since: Mapping[Path, int]) -> None:
        started = time.monotonic()
        waiting = readiness.checks(plan)
        socket = configuration.socket_path(self._folders)
        while waiting:
            for name in [name for name, ready in waiting.items() if ready()]:
                del waiting[name]
                self._say(f"  {name:<10} ready    {time.monotonic() - started:4.1f} s")
            if daemon.poll() is not None:
                raise LocalStackError("supervisord did not start:\n" + self._complaints.read_text()[-2000:])
            broken = [s for s in processes.states(socket) or [] if s.state == processes.FATAL and s.name in waiting]
            if broken:
                raise LocalStackError(
                    "\n\n".join(self._last_words(s.name, "does not start", s.trouble, since) for s in broken)
                )
            if waiting and time.monotonic() - started > READY_TIMEOUT_S:
                late = [self._last_words(n, f"is not ready after {READY_TIMEOUT_S:.0f} s", "", since) for n in waiting]
                raise LocalStackError("\n\n".join(late))
            time.sleep(_POLL_S)

    def _last_words(self, name: str, trouble: str, detail: str, since: Mapping[Path, int]) -> str:
        path = self._folders.logs / f"{name}.log"
        lines = logs.tail(path, _LAST_LINES, since.get(path, 0)) or [detail or "(it has written nothing)"]
        where = path.relative_to(self._folders.root)
        return "\n".join([f"{name} {trouble}. The end of {where}:", *(f"    {line}" for line in lines)])

    def _clear_orphans(self) -> None:
        if processes.members(self._folders):
            self._say("an earlier stack of this checkout was not stopped in order; stopping what it left")
            processes.stop_orphans(self._folders, lambda name: self._say(f"  {name:<10} stopped"))

    # --- down -----------------------------------------------------------------------------------------------------

    def down(self) -> bool:
        """Drains and stops everything; False when nothing ran. Raises `LocalStackError` if something does not end."""
        if not processes.members(self._folders):
            return False
        with self._alone():
            self._stop()
        return True

    def _stop(self) -> None:
        found = processes.members(self._folders)
        daemon = processes.supervisord_of(found)
        if daemon is None:
            if found:
                self._say("supervisord is gone; stopping what it left")
            processes.stop_orphans(self._folders, lambda name: self._say(f"  {name:<10} stopped"))
        else:
            started = time.monotonic()
            processes.signal_member(daemon, signal.SIGTERM)
            left = {member.name for member in found}
            while left and time.monotonic() - started < STOP_TIMEOUT_S:
                time.sleep(_POLL_S)
                now = {member.name for member in processes.members(self._folders)}
                for name in sorted(left - now - {processes.SUPERVISORD}):
                    self._say(f"  {name:<10} stopped  {time.monotonic() - started:4.1f} s")
                left = now
        killed = processes.kill(self._folders)
        if killed:
            self._say(f"killed, because it did not end by itself: {', '.join(killed)}")
        if left_over := processes.members(self._folders):
            pids = ", ".join(f"{member.name} ({member.process.pid})" for member in left_over)
            raise LocalStackError(f"still running, and not to be killed by this user: {pids}")
        self._record.unlink(missing_ok=True)
        configuration.socket_path(self._folders).unlink(missing_ok=True)

    # --- files ----------------------------------------------------------------------------------------------------

    @property
    def _record(self) -> Path:
        return self._folders.run / "stack.json"

    @property
    def _complaints(self) -> Path:
        return self._folders.run / "supervisord.out"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps a second `up` or `down` of this checkout out."""
        self._folders.state.mkdir(mode=0o700, parents=True, exist_ok=True)  # logs and data, besides secrets
        with (self._folders.state / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LocalStackError("another make up or make down of this checkout is at work") from None
            yield
