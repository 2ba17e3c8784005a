"""What perf has to know of a system to run it: how to start it, how to speak with it, what it does for a client."""

from __future__ import annotations

import http.client
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perf.dialects import Dialect
from perf.ways import Way


class Unavailable(Exception):
    """A contender that was asked for cannot be run here. The text says what to do."""


@dataclass(frozen=True)
class Program:
    """One process of a contender. `environment` comes on top of the caller's."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    folder: Path | None = None  # to run in; None is the caller's


@dataclass(frozen=True)
class Launch:
    """One start of a contender: its programs in the order in which they start; they stop in the reverse order.

    Clients connect to `port` and speak `dialect`. Whoever measures sets its channel: `channel` with a word for {name}.
    """

    programs: Sequence[Program]
    port: int
    ready: Callable[[], bool]
    dialect: Dialect
    publish: Way | None  # None: by a client, over its own socket
    channel: str = "compare-{name}"
    host: str = "127.0.0.1"
    adopted: Sequence[int] = ()  # processes that somebody else started: weighed, never touched


@dataclass(frozen=True)
class Contender:
    """A column of the table. `launch` gets a folder that is its own for the time of one start, and the number of cores
    that the programs will have; it raises `Unavailable`.

    `for_each_client` and `for_each_message` say what it does, because not all do the same.
    """

    name: str
    title: str
    for_each_client: str
    for_each_message: str
    launch: Callable[[Path, int], Launch]
    needs: Sequence[str] = ()  # parts of `installation`


def answers(port: int, path: str = "/") -> Callable[[], bool]:
    """Whether HTTP is answered on a port, whatever the answer is."""

    def ask() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            connection.getresponse().read()
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return ask
