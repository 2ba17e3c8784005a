"""`python -m deploy.local up|down|status|logs|run|token`; `make` has a target for each."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from deploy.local import configuration, logs, members, record, run, secrets_file, supervisor
from deploy.local.settings import Folders, LocalStackError, Plan, plan_from, require_known, wants_detached
from deploy.local.stack import Stack
from deploy.processes.ports import HOST
from deploy.processes.process import ProcessError
from services.chassis.process.launch import argument
from services.edge.tokens.minting import mint, parse_ttl, parse_user

_LOG_LINES = 10
_NOTHING_RUNS = "nothing is running (make up starts it)"
_STOPPED = "stopped; the data stays in .fairlead/"


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    arguments = _parser().parse_args(argv)
    folders = Folders()
    coloured = sys.stdout.isatty() and "NO_COLOR" not in environ
    try:
        match arguments.command:
            case "up":
                require_known(arguments.given)
                return _up(folders, environ, coloured)
            case "down":
                return _down(folders)
            case "status":
                return _status(folders)
            case "logs":
                return _logs(folders, coloured)
            case "run":
                if Stack(folders, _print).running() is None:
                    print(f"note: {_NOTHING_RUNS}", file=sys.stderr, flush=True)
                run.run(arguments.service, arguments.arguments, folders, environ)
            case _:
                return _token(folders, arguments.user, arguments.ttl)
    except (LocalStackError, ProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `make logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description="The local stack, on 127.0.0.1.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start everything; on a terminal, stay and show the log (DETACH=1: return)")
    up.add_argument("given", nargs="*", metavar="VARIABLE", help="variables given to make: unknown ones are refused")
    commands.add_parser("down", help="drain and stop everything")
    commands.add_parser("status", help="show what is running; exit code 3 if nothing is")
    commands.add_parser("logs", help="follow the log of all processes")
    service = commands.add_parser("run", help="run a command of a service with the settings of the local stack")
    service.add_argument("service", help=f"{', '.join(run.SERVICES)}, or one edge, such as edge-2")
    service.add_argument("arguments", nargs=argparse.REMAINDER, help="such as: check, or dead-letters list")
    token = commands.add_parser("token", help="print a connection token for the local stack")
    token.add_argument("user", type=argument(parse_user))
    token.add_argument(
        "--ttl", type=argument(parse_ttl), metavar="TTL", default=3600.0, help='such as "15m"; default 1h'
    )
    return parser


def _print(line: str) -> None:
    print(line, flush=True)


def _up(folders: Folders, environ: Mapping[str, str], coloured: bool) -> int:
    plan = plan_from(environ)
    stack = Stack(folders, _print)
    running = stack.running()
    if running is not None:
        _print("Fairlead is already running here. For other settings: make down first.")
        _print(_welcome(running))
        return 0 if running == plan else 1
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal ends the stack as Ctrl-C does
        signal.signal(number, _interrupt)
    edges = f"{plan.edges_min} to {plan.edges}" if plan.autoscaled else str(plan.edges)
    _print(f"starting Fairlead with {edges} edge{'s' if plan.edges > 1 else ''}")
    stack.up(plan, environ)
    since = logs.sizes(folders)  # the output of the start is in the files; only what follows is shown
    _print(_welcome(plan))
    if wants_detached(environ) or not sys.stdout.isatty():
        _print("It keeps running in the background.")
        return 0
    _print("Ctrl-C drains and stops everything. The log of all processes:\n")
    try:
        logs.follow(folders, since, sys.stdout, coloured, stack.alive())
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the drain, which ends soon
        _print("\ndraining and stopping")
        stack.down()
        _print(_STOPPED)
        return 0
    _print("the stack was stopped elsewhere")
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _welcome(plan: Plan) -> str:
    base = f"{HOST}:{plan.ports.traefik}"
    edges = ", ".join(str(port) for port in plan.edge_ports)
    if plan.autoscaled:
        first, last = plan.edge_ports[0], plan.edge_ports[-1]
        edges = f"{first} to {last}, of which {plan.edges_min} to {plan.edges} run"
    observers = ""
    if plan.prometheus:
        observers += f"  Prometheus  http://{HOST}:{plan.ports.prometheus}   /targets, /alerts, /graph\n"
    if plan.alertmanager:
        observers += f"  alerts      http://{HOST}:{plan.ports.alertmanager}   Alertmanager\n"
    return f"""
  clients     ws://{base}/connection/websocket
  the same    ws://{HOST}:{plan.ports.traefik_sockets}/connection/websocket   for very many clients: TCP passed through
  server API  http://{base}/api/publish and the others of docs/server-api.md
  NATS        nats://{HOST}:{plan.ports.nats}   for backends
  sessions    http://{base}/sessions   and /users/<user>/sessions
  metrics     http://{HOST}:{plan.ports.metrics}/metrics
  edges       {HOST}, ports {edges}   each with /readyz and /metrics
{observers}
  A token for a client     make token USER=alice
  The API key (X-API-Key)  FAIRLEAD_HTTP_API_KEY in .fairlead/secrets.env
  To see the log           make logs
  To stop                  make down
"""


def _down(folders: Folders) -> int:
    _print("draining and stopping" if members.members(folders) else _NOTHING_RUNS)
    if Stack(folders, _print).down():
        _print(_STOPPED)
    return 0


def _status(folders: Folders) -> int:
    plan = Stack(folders, _print).running()
    if plan is None:
        left = sorted({member.name for member in members.members(folders)})
        _print(f"supervisord is gone, but these still run: {', '.join(left)}; run make down" if left else _NOTHING_RUNS)
        return 3
    for state in _states(folders):
        pid = f"pid {state.pid} " if state.pid else ""
        _print(f"  {state.name:<10} {state.state.lower():<9} {pid}{state.trouble}".rstrip())
    if plan.autoscaled:
        _print(f"\n{_scaling(plan, record.read_scaling(folders))}")
    _print(_welcome(plan))
    return 0


def _states(folders: Folders) -> list[supervisor.State]:
    try:
        return supervisor.states(configuration.socket_path(folders))
    except supervisor.SupervisorAway:
        return []


def _scaling(plan: Plan, report: record.ScalingReport | None) -> str:
    """What the autoscaler has seen and done last."""
    bounds = f"{plan.edges_min} to {plan.edges} edges"
    if report is None:
        return f"  autoscaler: {bounds}; it has not looked yet"
    ready = sum(state == "ready" for state in report.edges.values())
    asked = report.problem if report.recommended is None else f"the metrics service recommends {report.recommended}"
    last = f"\n  its last change: {report.last}" if report.last else ""
    return f"  autoscaler: {bounds}, {ready} ready; {asked}{last}"


def _logs(folders: Folders, coloured: bool) -> int:
    since = logs.sizes(folders)
    logs.show_last(folders, sys.stdout, _LOG_LINES, coloured)
    stack = Stack(folders, _print)
    try:
        logs.follow(folders, since, sys.stdout, coloured, stack.alive())
    except KeyboardInterrupt:
        return 0
    _print(_NOTHING_RUNS)
    return 0


def _token(folders: Folders, user: str, ttl_s: float) -> int:
    key = secrets_file.read(folders.secrets).get(secrets_file.TOKEN_KEY)
    if not key:
        raise LocalStackError(
            f"there is no secret in {folders.secrets.relative_to(Path(folders.root))} yet; run make up first"
        )
    print(mint(user, key, ttl_s))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
