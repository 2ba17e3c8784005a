"""The process that `forks` starts: it has a service's modules loaded, and forks where a test would start that service.

Loading them is nine tenths of what the start of a service costs, and the tests start thousands. Run as
`python -m tests.support.fork_server SERVICE DESCRIPTOR`; the descriptor is a socket of packets, on which each request
is a JSON object and gets one as its answer.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
from typing import Any, Final

REQUEST_BYTES: Final = 200_000
_LOADED_LATE: Final = ("uvicorn.lifespan.on", "uvicorn.protocols.http.httptools_impl", "uvloop")


def _load(service: str) -> None:
    # As `launch._before_imports` does: what a service keeps out is not loaded here either.
    launch = importlib.import_module("services.chassis.process.launch")
    launch._before_imports()
    for module in (f"services.{service}.__main__", f"services.{service}.app", *_LOADED_LATE):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy the pages of all that is loaded


def _become(request: dict[str, Any], outputs: list[int], control: socket.socket) -> None:
    """In the fork: what a start of the interpreter would have set up."""
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


def _serve(control: socket.socket) -> None:
    """Answers requests until the tests end; returns in the forks only."""
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
        pid = os.fork()
        if pid == 0:
            _become(request, descriptors, control)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        running.add(pid)
        handle = os.pidfd_open(pid)
        socket.send_fds(control, [json.dumps(pid).encode()], [handle])
        os.close(handle)


def main() -> None:
    service, descriptor = sys.argv[1], int(sys.argv[2])
    _load(service)
    _serve(socket.socket(fileno=descriptor))
    sys.modules[f"services.{service}.__main__"].main()


if __name__ == "__main__":
    main()
