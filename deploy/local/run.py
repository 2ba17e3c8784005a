"""Runs one command of a service, such as `sessions dead-letters list`, with the settings of the local stack."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from deploy.local import configuration, record, secrets_file
from deploy.local.settings import Folders, LocalStackError, plan_from

SERVICES = ("edge", "sessions", "metrics")


def command(
    service: str, arguments: Sequence[str], folders: Folders, environ: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment. `service` is "sessions", "metrics", "edge" or one edge, such as "edge-2".
    FAIRLEAD_* variables of `environ` win over those with which the running stack was started.

    Raises `LocalStackError` if there is no such service, if there has been no stack here yet, or if `arguments` are
    empty, as the service would then start a second time.
    """
    plan = record.read_plan(folders) or plan_from(environ)
    secrets = secrets_file.read(folders.secrets)
    if not secrets:
        raise LocalStackError("there is no stack here yet; run make up first")
    edges = [f"edge-{number}" for number in range(1, len(plan.edge_ports) + 1)]
    if service not in (*SERVICES, *edges):
        raise LocalStackError(f"expected a service ({', '.join((*SERVICES, *edges))}), got {service!r}")
    if not arguments:
        raise LocalStackError(f"expected a command after {service}, such as check; {service} --help lists them")
    given = {name: value for name, value in record.read_given(folders).items() if not _is_given(name, environ)}
    variables = configuration.environment(plan, folders, secrets, {**given, **environ})
    del variables[configuration.MARK]  # it is not a part of the stack, so `make down` must not stop it
    kind, _, number = service.partition("-")
    if kind == "edge":
        variables |= configuration.edge_environment(plan, int(number or 1))
    return [sys.executable, "-m", f"services.{kind}", *arguments], variables


def _is_given(name: str, environ: Mapping[str, str]) -> bool:
    """Whether the setting of this variable is given, as a value or as a file."""
    setting = name.removesuffix("_FILE")
    return setting in environ or f"{setting}_FILE" in environ


def run(service: str, arguments: Sequence[str], folders: Folders, environ: Mapping[str, str]) -> NoReturn:
    """Replaces this process by the command. Raises like `command`."""
    line, variables = command(service, arguments, folders, environ)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head`
    os.chdir(folders.root)
    os.execve(line[0], line, variables)
