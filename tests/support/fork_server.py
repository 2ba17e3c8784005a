"""The process that `forks` starts: it has a program's modules loaded, and forks where a test would start that program.

Loading them is nine tenths of what the start of a service costs, and the tests start thousands. Run as
`python -m tests.support.fork_server PROGRAM DESCRIPTOR`; the descriptor is a socket of packets, on which each request
is a JSON object and gets one as its answer.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

REQUEST_BYTES: Final = 200_000

_SERVES: Final = ("uvicorn.lifespan.on", "uvicorn.protocols.http.httptools_impl", "uvloop")
_EDGE: Final = ("services.edge.__main__", "services.edge.app", *_SERVES)
_SESSIONS: Final = ("services.sessions.__main__", "services.sessions.app", *_SERVES)
_MODES: Final = ("connect", "observed", "comeback", "budget", "queries")  # load what nearly all modes need
PROGRAMS: Final[dict[str, Sequence[str]]] = {
    "services.edge": _EDGE,
    "services.sessions": _SESSIONS,
    "services.metrics": ("services.metrics.__main__", "services.metrics.app", *_SERVES),
    "tests.perf.by_fork": (*_EDGE, *_SESSIONS, "perf.__main__", *(f"perf.modes.{mode}" for mode in _MODES)),
}
"""Program -> the modules that are loaded for it."""
_TO_MIGRATE: Final = ("services.sessions.tables", "alembic.command", "alembic.config")  # as long as all the rest
_LOADED_BY: Final = {"rebuild": _TO_MIGRATE, "verify": _TO_MIGRATE}
"""The modules that commands load. The first command loads them here, and they stay for the others."""


def _load(modules: Sequence[str]) -> None:
    # As `launch._before_imports` does: what a service keeps out is not loaded here either.
    launch = importlib.import_module("services.chassis.process.launch")
    launch._before_imports()
    _import(modules)
    for module in modules:
        if module.endswith(".__main__"):
            del sys.modules[module]  # each fork runs it


def _import(modules: Sequence[str]) -> None:
    if sys.modules.keys() >= set(modules):
        return
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy the pages of all that is loaded


def _become(request: dict[str, Any], outputs: list[int], control: socket.socket) -> None:
    """In the fork: sets up what a start of the interpreter would have set up."""
    if request["own_session"]:
        os.setsid()
    control.close()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, wanted in zip((nothing, *outputs), (0, 1, 2), strict=True):
        os.dup2(descriptor, wanted)
        os.close(descriptor)
    if request["folder"] is not None:
        os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.argv[1:] = request["arguments"]


def _serve(control: socket.socket) -> str:
    """Answers requests until the tests end; returns in the forks only: the program to run."""
    running: set[int] = set()
    while True:
        packet, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES, 2)
        if not packet:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
            sys.exit()
        request = json.loads(packet)
        if "reap" in request:
            _, status = os.waitpid(request["reap"], 0)
            running.remove(request["reap"])
            control.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())
            continue
        _import(_LOADED_BY.get(next(iter(request["arguments"]), ""), ()))
        pid = os.fork()
        if pid == 0:
            _become(request, descriptors, control)
            return str(request["program"])
        for descriptor in descriptors:
            os.close(descriptor)
        running.add(pid)
        handle = os.pidfd_open(pid)
        socket.send_fds(control, [json.dumps(pid).encode()], [handle])
        os.close(handle)


def run(control: socket.socket) -> NoReturn:
    """Serves, and is one of the programs in each fork."""
    runpy.run_module(_serve(control), run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    _load(PROGRAMS[sys.argv[1]])
    run(socket.socket(fileno=int(sys.argv[2])))
