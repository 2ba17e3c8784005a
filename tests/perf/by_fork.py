"""`python -m perf` in a process that `tests.support.forks` has started, and whose edges and sessions services are such
processes too.
"""

from __future__ import annotations

import gc
import runpy

from perf.servers import processes
from tests.support import forks

if __name__ == "__main__":
    forks.serve_by_this_process("services.edge", "services.sessions")
    gc.enable()  # which is off in what starts services
    processes.popen = forks.popen
    runpy.run_module("perf", run_name="__main__", alter_sys=True)
