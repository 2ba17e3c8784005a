"""How far a run is, for whoever waits for it. Goes to stderr, so that stdout holds the figures alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from perf.tally import Progress as Counts


class Show(Protocol):
    def __call__(self, counts: Counts, /, *, total: int | None = None, ended: str = "lost") -> None:
        """`total` is for a part of a run that has clients of its own, `ended` what it is called that some are gone."""


class Bar:
    """`show` takes the counts; `phase` says in a word what goes on."""

    def __init__(self, show: Show, phase: Callable[[str], None]) -> None:
        self.show = show
        self.phase = phase


@contextlib.contextmanager
def bar(connections: int) -> Iterator[Bar]:
    """Drawn four times a second: drawing must not take CPU from what is measured. 0 connections: parts name theirs."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as drawn:
        task = drawn.add_task("preparing", total=connections, said=_said(Counts(), connections, "lost"))

        def show(counts: Counts, /, *, total: int | None = None, ended: str = "lost") -> None:
            total = connections if total is None else total
            drawn.update(task, total=total, completed=counts.connected, said=_said(counts, total, ended))

        def phase(name: str) -> None:
            drawn.update(task, description=name)

        yield Bar(show, phase)


def _said(counts: Counts, total: int, ended: str) -> str:
    of = f"/{total}" if total else ""
    return f"{counts.connected}{of} connected, {counts.failed} failed, {counts.lost} {ended}"
