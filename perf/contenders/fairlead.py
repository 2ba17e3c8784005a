"""Fairlead as a contender: the very processes of `make up`, in a folder of their own; all, or one edge and NATS."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from deploy.local import configuration, postgres, readiness, secrets_file
from deploy.local.settings import Folders, LocalStackError, Plan, Ports
from perf.contenders import installation
from perf.contenders.contender import Contender, Launch, Program, Unavailable
from perf.dialects.centrifuge import Centrifuge
from perf.own_edge import free_port
from perf.ways import server_api

_CONFIGURATION = Path(__file__).with_name("templates") / "fairlead.toml"


def one_edge(folder: Path, cores: int) -> Launch:
    return _launch(folder, edges=1, wanted=("nats", "edge-1"))


def stack(folder: Path, cores: int) -> Launch:
    return _launch(folder, edges=2, wanted=())


def _launch(folder: Path, edges: int, wanted: tuple[str, ...]) -> Launch:
    """`wanted` names programs of the local stack; none is all of them."""
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
    port = plan.ports.traefik if not wanted else plan.ports.edge
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
        port=port,
        ready=lambda: all(check() for check in checks),
        dialect=Centrifuge(token_secret=secrets[secrets_file.TOKEN_KEY]),
        publish=server_api(port, secrets[secrets_file.API_KEY]),
        channel="compare:{name}",
    )


def _free_ports() -> Ports:
    """Distinct ones, with room for a second edge beside the first."""
    edge = free_port()
    taken: list[int] = []
    while len(taken) < 6:
        port = free_port()
        if port not in (edge, edge + 1, *taken):
            taken.append(port)
    traefik, sessions, metrics, nats, database, admin = taken
    return Ports(traefik, edge, sessions, metrics, nats, database, admin)


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
        "Fairlead, 2 edges behind Traefik",
        "the same through a proxy; the session is folded into PostgreSQL",
        "stored in JetStream before it is acknowledged; ordered, recoverable",
        stack,
    ),
)
