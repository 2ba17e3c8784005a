"""The description of a series that a process exposes. The catalogues of the services are lists of these.

A catalogue is the only place that spells out a name, its meaning and its labels: `page` refuses a sample that is not in
its catalogue, docs/metrics.md is generated from the catalogues, and tests check code, rules and dashboards against
them.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Kind = Literal["gauge", "counter", "histogram"]

FAST_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds, in seconds, for what takes milliseconds when all is well: deliveries, acknowledgements, replies."""

LONG_S: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0)
"""Bounds, in seconds, for how long connections last."""

SIZES: Final = (0.0, 1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0)
"""Bounds for numbers of publications."""


class Series(NamedTuple):
    """One series. Its name lacks the suffixes that Prometheus adds to a counter (`_total`) and to the parts of a
    histogram. `unit` is the unit of its value. `bounds` are the upper bounds of a histogram's buckets, ascending."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str
    bounds: tuple[float, ...] = ()


Catalog = dict[str, Series]


def gauge(name: str, unit: str, meaning: str, *labels: str) -> Series:
    """A value that goes up and down."""
    return Series(name, "gauge", unit, labels, meaning)


def counter(name: str, unit: str, meaning: str, *labels: str) -> Series:
    """A count since the start of the process."""
    return Series(name, "counter", unit, labels, meaning)


def histogram(name: str, unit: str, bounds: tuple[float, ...], meaning: str, *labels: str) -> Series:
    """How observations are spread over buckets with these upper bounds, ascending."""
    return Series(name, "histogram", unit, labels, meaning, bounds)


def catalog(*series: Series) -> Catalog:
    """The series by name. Raises ValueError for a name that is declared twice."""
    found = {one.name: one for one in series}
    if len(found) < len(series):
        raise ValueError("a series is declared twice")
    return found
