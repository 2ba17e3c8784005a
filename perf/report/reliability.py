"""Whether a figure says more about the load generator, or about a busy machine, than about the measured server."""

from __future__ import annotations

STARVED = 0.1
"""A generator whose own p99 lateness is above this share of the p99 connect time distorts what it measures."""

BUSY = 0.8
"""Client processes that use more than this share of their cores add their own delay to every age."""

CARE = "READ WITH CARE"


def starved(lateness_p99_s: float | None, measured_p99_s: float | None) -> bool:
    """Whether the generator was so late that the figures say more about it than about the server.

    Never if the lateness is below 5 ms: the loop's timers have a resolution of 1 ms.
    """
    if lateness_p99_s is None or measured_p99_s is None:
        return False
    return lateness_p99_s > max(0.005, STARVED * measured_p99_s)


def busy_clients(share: float) -> list[tuple[str, object]]:
    """A row for the table when the client processes were too busy, else none."""
    if share < BUSY:
        return []
    return [(CARE, f"the client processes were {share:.0%} busy: ages are theirs; use more --processes")]
