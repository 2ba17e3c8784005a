"""Fairlead as a contender: the very processes of `make up`, in a folder of their own; all, or one edge and NATS."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from deploy.local import configuration, postgres, readiness, secrets_file
from deploy.local.settings import PORT_VARIABLES, Folders, LocalStackError, Plan, Ports
from perf.contenders import installation
from perf.contenders.contender import Contender, Launch, Program, Unavailable
from perf.dialects.centrifuge import Centrifuge
from perf.own_edge import free_port
from perf.ways import server_api

_CONFIGURATION = Path(__file__).with_name("templates") / "fairlead.toml"


def one_edge(folder: Path, cores: int) -> Launch:
    return _launch(folder, edges=1, wanted=("nats", "edge-1"))


def stack(folder: Path, cores: int) -> Launch:
    return _launch(folder, edges=2, wanted=(), way_in="traefik_sockets")


def stack_by_http(folder: Path, cores: int) -> Launch:
    return _launch(folder, edges=2, wanted=(), way_in="traefik")


def _launch(folder: Path, edges: int, wanted: tuple[str, ...], way_in: str = "edge") -> Launch:
    """`wanted` names programs of the local stack; none is all of them. `way_in` is the port of the clients."""
    folders, plan = Folders(folder), Plan(_free_ports(), edges)
    for needed in (folders.run, folders.logs, folders.nats):
        needed.mkdir(parents=True)
    secrets = secrets_file.ensure(folders.secrets)
    try:
        privilege = postgres.Privilege.find()
        if not wanted:
            postgres.ensure_database(privilege, folders.postgres, secrets[secrets_file.POSTGRES_PASSWORD])
        configuration.write(plan, folders, privilege)
        programs = [one for one in configuration.programs(plan, folders, privilege) if not wanted or one.name in wanted]
    except LocalStackError as error:
        raise Unavailable(str(error)) from None
    shared = configuration.environment(plan, folders, secrets, _without_ours(os.environ))
    shared["FAIRLEAD_CONFIG"] = str(_CONFIGURATION)
    checks = [check for name, check in readiness.checks(plan).items() if not wanted or name in wanted]
    return Launch(
        programs=[
            Program(
                one.name,
                one.command,
                {**shared, **one.environment},
                signal.Signals[f"SIG{one.stopsignal}"],
                installation.ROOT,
            )
            for one in programs
        ],
        port=getattr(plan.ports, way_in),
        ready=lambda: all(check() for check in checks),
        dialect=Centrifuge(token_secret=secrets[secrets_file.TOKEN_KEY]),
        publish=server_api(plan.ports.edge if wanted else plan.ports.traefik, secrets[secrets_file.API_KEY]),
        channel="compare:{name}",
    )


def _free_ports() -> Ports:
    """Distinct ones, each with room for a second edge beside it."""
    found: dict[str, int] = {}
    for name in PORT_VARIABLES:
        while (port := free_port()) in {other + step for other in found.values() for step in (-1, 0, 1)}:
            continue
        found[name] = port
    return Ports(**found)


def _without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """A shell that is set up for another stack must not change what is measured."""
    return {name: value for name, value in environ.items() if not name.startswith("FAIRLEAD_")}


FAIRLEAD = (
    Contender(
        "fairlead",
        "Fairlead, one edge",
        "checks a JWT, subscribes with a position, logs the session in JetStream",
        "stored in JetStream before it is acknowledged; ordered, recoverable",
        one_edge,
    ),
    Contender(
        "fairlead-stack",
        "Fairlead behind Traefik (TCP)",
        "the same through Traefik, which passes TCP through; the session is folded into PostgreSQL",
        "stored in JetStream before it is acknowledged; ordered, recoverable",
        stack,
    ),
    Contender(
        "fairlead-http",
        "Fairlead behind Traefik (HTTP)",
        "the same, Traefik takes HTTP apart, and tries another edge where one does not answer",
        "stored in JetStream before it is acknowledged; ordered, recoverable",
        stack_by_http,
    ),
)
