"""What perf must know about a system to run it: how it is started, which protocol it speaks, what it does for a
client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deploy.processes.process import Program
from deploy.processes.readiness import Check, http_status
from perf.load.dialects import Dialect
from perf.load.publish_targets import PublishTarget


class Unavailable(Exception):
    """A system that was asked for cannot be run here. The text says what to do."""


@dataclass(frozen=True)
class Launch:
    """One start of a system: its programs in the order in which they start; they stop in the reverse order.

    Clients connect to `port` and speak `dialect`. Each measurement has a channel of its own: `channel` with a word for
    {name}.
    """

    programs: Sequence[Program]
    port: int
    ready: Check
    dialect: Dialect
    publish: PublishTarget | None  # None: by a client, over its own socket
    channel: str = "compare-{name}"
    host: str = "127.0.0.1"
    adopted: Sequence[int] = ()  # processes that somebody else started: measured, never touched


@dataclass(frozen=True)
class System:
    """A row of the comparison.

    `launch` gets a folder of its own for one start, and the number of cores that the programs will have; it raises
    `Unavailable`. `for_each_client` and `for_each_message` say what the system does, because not all do the same.
    """

    name: str
    title: str
    for_each_client: str
    for_each_message: str
    launch: Callable[[Path, int], Launch]
    needs: Sequence[str] = ()  # parts of `installation`


def answers(port: int) -> Check:
    """A check whether a port answers HTTP, with any status."""
    return partial(_answers, port)


def _answers(port: int) -> bool:
    return http_status(port) is not None
