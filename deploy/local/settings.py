"""The settings of the local stack and the places of its files. Nothing else here reads the environment."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from services.chassis.process.settings_errors import hint

MAX_EDGES = 16
ROOT = Path(__file__).resolve().parents[2]


class LocalStackError(Exception):
    """The stack cannot be started or stopped as asked. The text says what to do."""


@dataclass(frozen=True)
class Ports:
    """TCP ports on 127.0.0.1.

    `edge` and `edge_clients` are the ports of the first edge; the other edges use the following ones.
    """

    traefik: int = 8000
    traefik_sockets: int = 8002
    edge: int = 8101
    edge_clients: int = 8151
    sessions: int = 8201
    metrics: int = 8301
    nats: int = 4222
    postgres: int = 5433
    traefik_admin: int = 8001
    prometheus: int = 9090
    alertmanager: int = 9093


PORT_VARIABLES = {
    "traefik": "PORT",
    "traefik_sockets": "SOCKETS_PORT",
    "edge": "EDGE_PORT",
    "edge_clients": "EDGE_CLIENT_PORT",
    "sessions": "SESSIONS_PORT",
    "metrics": "METRICS_PORT",
    "nats": "NATS_PORT",
    "postgres": "POSTGRES_PORT",
    "traefik_admin": "TRAEFIK_PORT",
    "prometheus": "PROMETHEUS_PORT",
    "alertmanager": "ALERTMANAGER_PORT",
}
"""Field of `Ports` -> the variable that changes it."""

CONFIGURATION = ROOT / "deploy" / "local" / "fairlead.toml"
_PORTS_OF_SERVICES = {
    f"FAIRLEAD_{PORT_VARIABLES[field]}": PORT_VARIABLES[field]
    for field in ("edge", "edge_clients", "sessions", "metrics")
}
"""The variable for a service's port, which this stack sets -> the variable to use with `make up`."""

_AUTO = "auto"
_BOUNDS = ("EDGES_MIN", "EDGES_MAX")
_BOUNDS_OF_SERVICES = {"FAIRLEAD_CAPACITY_MIN_EDGES": "EDGES_MIN", "FAIRLEAD_CAPACITY_MAX_EDGES": "EDGES_MAX"}
"""The variable for a bound of the recommended number, which this stack sets -> the variable to use with `make up`."""

_OF_MAKE = ("PYTHON", "VENV", "BIN", "UV")
"""The variables of the Makefile itself."""


@dataclass(frozen=True)
class Plan:
    """How a stack runs, or should run. `prometheus` and `alertmanager` are programs, "" for none.

    `edges` is the most edges that run. `edges_min` of them start with the stack, and the autoscaler starts and stops
    the others; 0: all of them start.
    """

    ports: Ports = Ports()
    edges: int = 2
    prometheus: str = ""
    alertmanager: str = ""
    edges_min: int = 0

    @property
    def autoscaled(self) -> bool:
        return self.edges_min > 0

    @property
    def first_edges(self) -> int:
        """How many edges start with the stack: those with the lowest numbers."""
        return self.edges_min or self.edges

    @property
    def edge_ports(self) -> list[int]:
        return list(range(self.ports.edge, self.ports.edge + self.edges))

    @property
    def edge_client_ports(self) -> list[int]:
        return list(range(self.ports.edge_clients, self.ports.edge_clients + self.edges))

    def listeners(self) -> list[tuple[int, str, str]]:
        """(port, process, variable that changes the port) of everything that listens."""
        found = []
        of_edges = {"edge": self.edge_ports, "edge_clients": self.edge_client_ports}
        absent = {name for name in ("prometheus", "alertmanager") if not getattr(self, name)}
        for field, port in asdict(self.ports).items():
            if field in absent:
                continue
            if field in of_edges:
                found += [(p, f"edge-{n}", PORT_VARIABLES[field]) for n, p in enumerate(of_edges[field], 1)]
            else:
                found.append((port, field.replace("_", " "), PORT_VARIABLES[field]))
        return found


@dataclass(frozen=True)
class Folders:
    """The places of the files of one checkout's stack."""

    root: Path = ROOT

    @property
    def state(self) -> Path:
        return self.root / ".fairlead"

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def nats(self) -> Path:
        return self.state / "nats"

    @property
    def postgres(self) -> Path:
        return self.state / "postgres"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets.env"


def require_known(names: Iterable[str]) -> None:
    """Raises `LocalStackError` for a name that is not a variable of `make up`: a misspelt name would have no effect."""
    known = ("EDGES", *_BOUNDS, "OBSERVE", "DETACH", *PORT_VARIABLES.values())
    for name in names:
        if name not in (*known, *_OF_MAKE) and not name.startswith("FAIRLEAD_"):
            meant = hint(name, known) or "."
            raise LocalStackError(f"make up has no variable {name}{meant} It has {', '.join(known)} and FAIRLEAD_...")


def plan_from(environ: Mapping[str, str]) -> Plan:
    """The stack that the variables ask for. Raises `LocalStackError` naming the variable that is out of bounds."""
    _refuse_overridden(environ)
    defaults = asdict(Ports())
    ports = {field: _number(environ, variable, defaults[field], 1, 65535) for field, variable in PORT_VARIABLES.items()}
    edges, edges_min = _edges(environ)
    plan = Plan(Ports(**ports), edges, *_observers(environ), edges_min)
    taken: dict[int, str] = {}
    for port, process, variable in plan.listeners():
        if port > 65535:
            raise LocalStackError(
                f"{process} would listen on port {port}, and 65535 is the last one; lower {variable} or EDGES"
            )
        if port in taken:
            raise LocalStackError(f"{process} and {taken[port]} would both listen on port {port}; change {variable}")
        taken[port] = process
    return plan


def given_in(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of `make up` that have a value."""
    names = (*PORT_VARIABLES.values(), "EDGES", *_BOUNDS, "OBSERVE", "DETACH")
    return {name: environ[name] for name in names if environ.get(name)}


def _refuse_overridden(environ: Mapping[str, str]) -> None:
    """Raises `LocalStackError` for a variable of a service that would have no effect, as this stack sets it itself.

    Addresses of NATS and PostgreSQL are not refused: a shell may have those of another system.
    """
    config = environ.get("FAIRLEAD_CONFIG", "")
    if config and Path(config).resolve() != CONFIGURATION:
        raise LocalStackError(
            f"FAIRLEAD_CONFIG={config}: make up reads {CONFIGURATION.relative_to(ROOT)}. Edit that file, and unset "
            "FAIRLEAD_CONFIG"
        )
    for theirs, ours in _PORTS_OF_SERVICES.items():
        if port := environ.get(theirs, ""):
            raise LocalStackError(
                f"{theirs}={port}: make up sets the ports of its processes. Write {ours}={port}, and unset {theirs}"
            )


def _edges(environ: Mapping[str, str]) -> tuple[int, int]:
    """The most edges, and the least; the second is 0 unless EDGES is "auto"."""
    if environ.get("EDGES", "").strip() != _AUTO:
        for variable in _BOUNDS:
            if text := environ.get(variable, "").strip():
                raise LocalStackError(
                    f"{variable}={text} is a bound for the autoscaler, which EDGES=auto starts: write EDGES=auto "
                    f"{variable}={text}, or leave {variable} out"
                )
        return _number(environ, "EDGES", 2, 1, MAX_EDGES, f", or {_AUTO}"), 0
    least = _number(environ, "EDGES_MIN", 2, 1, MAX_EDGES)
    most = _number(environ, "EDGES_MAX", 6, 1, MAX_EDGES)
    if least > most:
        raise LocalStackError(f"EDGES_MIN={least} is above EDGES_MAX={most}: lower the first or raise the second")
    for theirs, ours in _BOUNDS_OF_SERVICES.items():
        if text := environ.get(theirs, ""):
            raise LocalStackError(
                f"{theirs}={text}: with EDGES=auto make up sets it. Write {ours}={text}, and unset {theirs}"
            )
    return most, least


def _observers(environ: Mapping[str, str]) -> tuple[str, str]:
    """Prometheus and Alertmanager, if OBSERVE asks for them. Raises `LocalStackError` if there is no Prometheus."""
    if not _is_on(environ, "OBSERVE"):
        return "", ""
    path = environ.get("PATH")
    prometheus = shutil.which("prometheus", path=path)
    # Debian's name for it, and the release's.
    alertmanager = shutil.which("prometheus-alertmanager", path=path) or shutil.which("alertmanager", path=path)
    if prometheus is None:
        raise LocalStackError(
            "OBSERVE=1 starts Prometheus, and PATH has no program of that name. Debian and Ubuntu have it: apt-get "
            "install prometheus prometheus-alertmanager, then systemctl disable --now prometheus "
            "prometheus-alertmanager, as their own services take its ports. Or unpack the packages or a release "
            "anywhere, and put that folder on PATH: docs/observability.md"
        )
    return prometheus, alertmanager or ""


def wants_detached(environ: Mapping[str, str]) -> bool:
    """True if DETACH asks `up` to return as soon as the stack is ready, even on a terminal."""
    return _is_on(environ, "DETACH")


def _is_on(environ: Mapping[str, str], variable: str) -> bool:
    return environ.get(variable, "") not in ("", "0", "no", "false")


def _number(environ: Mapping[str, str], variable: str, default: int, low: int, high: int, others: str = "") -> int:
    text = environ.get(variable, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise LocalStackError(f"{variable}={text}: expected a number from {low} to {high}{others}")
    return int(text)
