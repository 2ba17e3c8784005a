"""The progress of a run, on stderr, so that stdout holds only the figures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Counts(Protocol):
    """Of connections."""

    @property
    def connected(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def lost(self) -> int: ...


class Show(Protocol):
    def __call__(self, counts: Counts, /, *, total: int | None = None, ended: str = "lost") -> None:
        """`total` is for a part of a run that has its own clients; `ended` is the word for clients that are gone."""


class Bar:
    """`show` is called with the counts, `phase` with a word for what happens now."""

    def __init__(self, show: Show, phase: Callable[[str], None]) -> None:
        self.show = show
        self.phase = phase


@dataclass(frozen=True)
class _NoCounts:
    connected: int = 0
    failed: int = 0
    lost: int = 0


@contextlib.contextmanager
def bar(connections: int) -> Iterator[Bar]:
    """Drawn four times a second, so as not to take CPU from what is measured.

    0 connections: each part names its own.
    """
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as drawn:
        task = drawn.add_task("preparing", total=connections, counts=_text(_NoCounts(), connections, "lost"))

        def show(counts: Counts, /, *, total: int | None = None, ended: str = "lost") -> None:
            total = connections if total is None else total
            drawn.update(task, total=total, completed=counts.connected, counts=_text(counts, total, ended))

        def phase(name: str) -> None:
            drawn.update(task, description=name)

        yield Bar(show, phase)


def _text(counts: Counts, total: int, ended: str) -> str:
    of = f"/{total}" if total else ""
    return f"{counts.connected}{of} connected, {counts.failed} failed, {counts.lost} {ended}"
