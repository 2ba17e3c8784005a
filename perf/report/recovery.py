"""What reconnecting clients were promised: each is back, has recovered, and has every publication once."""

from __future__ import annotations

from typing import Protocol


class Recovery(Protocol):
    """Figures of clients that were cut off and reconnected."""

    connections: int
    back: int
    recovered: int
    delivered: int
    expected: int
    gaps: int
    repeats: int


def broken_promises(figures: Recovery) -> list[str]:
    """The broken promises, in words; empty if all were kept."""
    broken = []
    if figures.back != figures.connections:
        broken.append(f"{figures.back} of {figures.connections} clients came back")
    if figures.recovered != figures.back:
        broken.append(f"{figures.recovered} of {figures.back} were recovered")
    if figures.delivered != figures.expected:
        broken.append(f"{figures.delivered} of {figures.expected} deliveries")
    if figures.gaps or figures.repeats:
        broken.append(f"{figures.gaps} gaps, {figures.repeats} repeats")
    return broken
