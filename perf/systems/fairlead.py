"""Fairlead as a system to compare: the processes of `make up` in a separate folder; all of them, or one edge and
NATS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deploy.local import configuration, readiness, secrets_file
from deploy.local.settings import PORT_VARIABLES, Folders, LocalStackError, Plan, Ports
from deploy.processes import postgres
from deploy.processes.ports import free_port
from deploy.processes.process import ProcessError
from perf.load.dialects.centrifuge import Centrifuge
from perf.load.publish_targets import server_api
from perf.systems import installation
from perf.systems.system import Launch, System, Unavailable

_CONFIGURATION = Path(__file__).with_name("templates") / "fairlead.toml"


def one_edge(folder: Path, cores: int) -> Launch:
    return _launch(folder, edges=1, wanted=("nats", "edge-1"))


def stack(folder: Path, cores: int) -> Launch:
    return _launch(folder, edges=2, wanted=(), way_in="traefik_sockets")


def stack_by_http(folder: Path, cores: int) -> Launch:
    return _launch(folder, edges=2, wanted=(), way_in="traefik")


def _launch(folder: Path, edges: int, wanted: tuple[str, ...], way_in: str = "edge") -> Launch:
    """`wanted` names programs of the local stack; if it is empty, all are meant.

    `way_in` is the port of the clients.
    """
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
    except (LocalStackError, ProcessError) as error:
        raise Unavailable(str(error)) from None
    shared = configuration.environment(plan, folders, secrets, _without_ours(os.environ))
    shared["FAIRLEAD_CONFIG"] = str(_CONFIGURATION)
    checks = [check for name, check in readiness.checks(plan, folders).items() if not wanted or name in wanted]
    return Launch(
        programs=[
            replace(one, environment={**shared, **one.environment}, folder=installation.ROOT) for one in programs
        ],
        port=getattr(plan.ports, way_in),
        ready=lambda: all(check() for check in checks),
        dialect=Centrifuge(token_secret=secrets[secrets_file.TOKEN_KEY]),
        publish=server_api(plan.ports.edge if wanted else plan.ports.traefik, secrets[secrets_file.API_KEY]),
        channel="compare:{name}",
    )


def _free_ports() -> Ports:
    """Each has the next port free too, for a second edge."""
    return Ports(**{name: free_port(span=2) for name in PORT_VARIABLES})


def _without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """Removes Fairlead's variables: a shell that is set up for another stack must not change what is measured."""
    return {name: value for name, value in environ.items() if not name.startswith("FAIRLEAD_")}


FAIRLEAD = (
    System(
        "fairlead",
        "Fairlead, one edge",
        "checks a JWT, subscribes with a position, logs the session in JetStream",
        "stored in JetStream before it is acknowledged; ordered, recoverable",
        one_edge,
    ),
    System(
        "fairlead-stack",
        "Fairlead behind Traefik (TCP)",
        "the same through Traefik, which passes TCP through; the session is folded into PostgreSQL",
        "stored in JetStream before it is acknowledged; ordered, recoverable",
        stack,
    ),
    System(
        "fairlead-http",
        "Fairlead behind Traefik (HTTP)",
        "the same, Traefik parses HTTP, and tries another edge if one does not answer",
        "stored in JetStream before it is acknowledged; ordered, recoverable",
        stack_by_http,
    ),
)
