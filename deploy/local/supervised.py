"""A program as supervisord runs it."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.processes.process import Program


@dataclass(frozen=True, kw_only=True)
class SupervisedProgram(Program):
    """One process under supervisord. The highest priority starts last and stops first. Without `autostart` the process
    runs only when somebody starts it."""

    priority: int
    stopwait_s: int = 10
    autostart: bool = True
