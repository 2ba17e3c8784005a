"""What the processes of the stack read: the files of supervisord, NATS and Traefik, and their environment."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import sys
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from string import Template

from deploy.local import observation, routes, secrets_file, supervisor
from deploy.local.settings import CONFIGURATION, ROOT, Folders, LocalStackError, Plan
from deploy.local.supervised import SupervisedProgram
from deploy.processes import nats, postgres
from deploy.processes.ports import HOST
from deploy.traefik import gate
from services.chassis.process.settings import ConfigurationError
from services.edge import configuration as edge_configuration
from services.metrics import settings as metrics_settings
from services.sessions import settings as sessions_settings

MARK = "LOCAL_STACK"
"""A variable of every process of a stack. Its value is the state folder, which tells checkouts apart."""

EDGE_STOP_S = 15
"""By default an edge drains in under 10 s; an edge that takes longer than this is hung, and is killed."""
_DRAIN_LIMIT_S = 10.0

_TEMPLATES = Path(__file__).with_name("templates")
_SOCKET_PATH_LIMIT = 100  # the kernel's is 107 bytes, and supervisord appends to it while it starts
_OPEN_FILES = 65536
_AUTOSCALER = "deploy.local.autoscaler"  # a name, as it imports this module


def programs(plan: Plan, folders: Folders, privilege: postgres.Privilege) -> list[SupervisedProgram]:
    """The processes, in the order in which they start. Raises `ProcessError` for a program that is not installed."""
    ports, scripts = plan.ports, Path(sys.executable).parent
    python = [sys.executable, "-m"]
    return [
        *observation.programs(plan, folders),
        SupervisedProgram(
            name="postgres",
            command=postgres.command(privilege, folders.postgres, ports.postgres),
            stop_signal=signal.SIGINT,  # fast shutdown: disconnects clients instead of waiting for them
            priority=10,
        ),
        SupervisedProgram(
            name="nats", command=[str(nats.program()), "-c", str(folders.run / "nats.conf")], priority=20
        ),
        SupervisedProgram(name="sessions", command=[*python, "services.sessions"], priority=30),
        SupervisedProgram(name="metrics", command=[*python, "services.metrics"], priority=40),
        SupervisedProgram(
            name="traefik",
            command=[
                *python,
                "deploy.traefik",
                f"--gate={HOST}:{ports.traefik}",
                f"--gate={HOST}:{ports.traefik_sockets}",
                f"--ready=http://{HOST}:{ports.traefik_admin}/ping",
                "--",
                str(scripts / "traefik"),
                f"--configFile={folders.run / 'traefik.yaml'}",
            ],
            priority=50,
        ),
        *(
            SupervisedProgram(
                name=f"edge-{number}",
                command=[*python, "services.edge"],
                environment=edge_environment(plan, number),
                priority=60,
                stopwait_s=EDGE_STOP_S,
                autostart=number <= plan.first_edges,
            )
            for number in range(1, len(plan.edge_ports) + 1)
        ),
        # It stops first, so that no edge starts while the others drain.
        *([SupervisedProgram(name="autoscaler", command=[*python, _AUTOSCALER], priority=70)] * plan.autoscaled),
    ]


def edge_environment(plan: Plan, number: int) -> dict[str, str]:
    """The additional environment of edge `number`, from 1."""
    return {
        "FAIRLEAD_EDGE_NAME": f"edge-{number}",
        "FAIRLEAD_EDGE_PORT": str(plan.edge_ports[number - 1]),
        "FAIRLEAD_EDGE_CLIENT_PORT": str(plan.edge_client_ports[number - 1]),
        "FAIRLEAD_EDGE_PROXY_PROTOCOL": "true",
    }


def environment(plan: Plan, folders: Folders, secrets: Mapping[str, str], caller: Mapping[str, str]) -> dict[str, str]:
    """The environment of every process: the caller's, overridden by the variables that this stack sets.

    A FAIRLEAD_* variable of the caller reaches the services (so that a setting can be tried out), unless the stack
    needs its own: a shell that points at another NATS or PostgreSQL must not make this stack write there.
    """
    password = secrets[secrets_file.POSTGRES_PASSWORD]
    database = f"{HOST}:{plan.ports.postgres}/{postgres.DATABASE}"
    ours = {
        MARK: str(folders.state),
        "FAIRLEAD_CONFIG": str(folders.root / CONFIGURATION.relative_to(ROOT)),
        "FAIRLEAD_NATS_URL": f"nats://{HOST}:{plan.ports.nats}",
        "FAIRLEAD_POSTGRES_URL": f"postgresql://{postgres.USER}:{password}@{database}",
        "FAIRLEAD_EDGE_HOST": HOST,
        "FAIRLEAD_EDGE_TRUSTED_PROXIES": HOST,  # Traefik, on both ways
        "FAIRLEAD_SESSIONS_HOST": HOST,
        "FAIRLEAD_SESSIONS_PORT": str(plan.ports.sessions),
        "FAIRLEAD_METRICS_HOST": HOST,
        "FAIRLEAD_METRICS_PORT": str(plan.ports.metrics),
        secrets_file.TOKEN_KEY: secrets[secrets_file.TOKEN_KEY],
        secrets_file.API_KEY: secrets[secrets_file.API_KEY],
    }
    if plan.autoscaled:
        ours |= {
            "FAIRLEAD_CAPACITY_MIN_EDGES": str(plan.edges_min),
            "FAIRLEAD_CAPACITY_MAX_EDGES": str(plan.edges),
        }
    foreign = ("SUPERVISOR_", "PG", "TRAEFIK_", "FAIRLEAD_NATS_", "MAKE", "MFLAGS")
    replaced = {f"{name}_FILE" for name in ours}
    kept = {name: value for name, value in caller.items() if not name.startswith(foreign) and name not in replaced}
    return kept | ours


def check(environment: Mapping[str, str]) -> None:
    """Reads the services' settings as the services will.

    Raises `LocalStackError` for a mistake, before anything starts.
    """
    try:
        edge = edge_configuration.from_environ(environment).edge
        sessions_settings.from_environ(environment)
        metrics_settings.from_environ(environment)
    except ConfigurationError as error:
        raise LocalStackError(str(error)) from None
    if edge.drain_timeout > _DRAIN_LIMIT_S:
        raise LocalStackError(
            f"edge.drain_timeout: expected at most {_DRAIN_LIMIT_S:g} s here, got {edge.drain_timeout:g}: the local "
            f"stack kills an edge {EDGE_STOP_S} s after it was told to stop"
        )


def write(plan: Plan, folders: Folders, privilege: postgres.Privilege) -> Path:
    """Writes all files into `.fairlead/run`; returns supervisord's."""
    values = {
        "nats_port": str(plan.ports.nats),
        "nats_folder": str(folders.nats),
        "traefik_port": str(plan.ports.traefik),
        "traefik_sockets_port": str(plan.ports.traefik_sockets),
        "traefik_admin_port": str(plan.ports.traefik_admin),
        "gated": str(gate.SUPPORTED).lower(),
        "routes_file": str(routes.path_of(folders)),
        "watch_routes": str(plan.autoscaled).lower(),
    }
    for name in ("nats.conf", "traefik.yaml"):
        (folders.run / name).write_text(_fill(name, values))
    routes.write(plan, folders, range(1, plan.first_edges + 1))
    observation.write(plan, folders)
    path = folders.run / "supervisord.conf"
    path.write_text(_supervisord(programs(plan, folders, privilege), folders))
    return path


def _supervisord(wanted: list[SupervisedProgram], folders: Folders) -> str:
    head = {
        "root": folders.root,
        "logs": folders.logs,
        "run": folders.run,
        "socket": socket_path(folders),
        "user": os.geteuid(),
        "open_files": open_files(),
    }
    parts = [_fill("supervisord.conf", {name: _escape(str(value)) for name, value in head.items()})]
    for program in wanted:
        values = {
            "name": program.name,
            "command": shlex.join(program.command),
            "environment": ",".join(f'{name}="{value}"' for name, value in program.environment.items()),
            "priority": str(program.priority),
            "stopsignal": program.stop_signal.name.removeprefix("SIG"),
            "stopwaitsecs": str(program.stopwait_s),
            "autostart": str(program.autostart).lower(),
            "logs": str(folders.logs),
        }
        parts.append(_fill("program.conf", {name: _escape(value) for name, value in values.items()}))
    # One group, because supervisord stops only the members of a group at the same time: the edges drain side by side.
    edges = ",".join(program.name for program in wanted if program.name.startswith("edge-"))
    parts.append(f"\n[group:{supervisor.EDGES_GROUP}]\nprograms = {edges}\npriority = 60\n")
    return "".join(parts)


def socket_path(folders: Folders) -> Path:
    """supervisord's control socket; outside the checkout if its path is too long for a socket."""
    path = folders.run / "supervisor.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
        return path
    name = sha256(os.fsencode(folders.state)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"fairlead-{os.geteuid()}-{name}.sock"


def open_files() -> int:
    """How many file descriptors each process may open: the hard limit, but at most what one process can use here."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)


def _fill(name: str, values: Mapping[str, str]) -> str:
    return Template((_TEMPLATES / name).read_text()).substitute(values)


def _escape(text: str) -> str:
    return text.replace("%", "%%")  # supervisord expands %(name)s in every value
