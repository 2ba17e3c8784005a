"""How far a run is, for whoever waits for it. Goes to stderr, so that stdout holds the figures alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from perf.tally import Progress as Counts


class Bar:
    """`show` takes the counts; `phase` says in a word what goes on."""

    def __init__(self, show: Callable[[Counts], None], phase: Callable[[str], None]) -> None:
        self.show = show
        self.phase = phase


@contextlib.contextmanager
def bar(connections: int) -> Iterator[Bar]:
    """Drawn four times a second: drawing must not take CPU from what is measured."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} connected, {task.fields[failed]} failed, {task.fields[lost]} lost"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as drawn:
        task = drawn.add_task("preparing", total=connections, failed=0, lost=0)

        def show(counts: Counts) -> None:
            drawn.update(task, completed=counts.connected, failed=counts.failed, lost=counts.lost)

        def phase(name: str) -> None:
            drawn.update(task, description=name)

        yield Bar(show, phase)
