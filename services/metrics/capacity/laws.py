"""The laws: an edge's use of each resource as a function of its load, and how well each fits.

| resource | law | unit |
|---|---|---|
| cpu | fixed + so much for each connection, accept, command, publish and delivery | cores |
| memory | fixed + so much for each connection, subscription and channel | bytes |
| descriptors | fixed + so many for each connection | descriptors |
| bandwidth | fixed + so much for each connection and delivery | bytes/s |
| loop_lag | fixed + so much for each p / (1 - p), where p is the CPU use: the waiting time of a queue | seconds |

All coefficients are nonnegative. An edge is one thread: what the universal scalability law describes as contention of
many workers appears here as waiting in one queue, which is the last law. A fan-out counts by its deliveries.

Until something is measured, a law has the coefficients of `PRIORS`, from this repository's benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from services.metrics.capacity.least_squares import fit, predict
from services.metrics.capacity.levels import Levels
from services.metrics.minutes import Minute

Resource = Literal["cpu", "memory", "descriptors", "bandwidth", "loop_lag"]
RESOURCES: Final[tuple[Resource, ...]] = ("cpu", "memory", "descriptors", "bandwidth", "loop_lag")

BUSIEST: Final = 0.98
"""CPU use, in cores, above which the queue's waiting time is taken to be constant."""

USAGE: Final[dict[Resource, Callable[[Minute], float]]] = {
    "cpu": lambda one: one.cpu,
    "memory": lambda one: one.memory_bytes,
    "descriptors": lambda one: one.open_fds,
    "bandwidth": lambda one: one.bytes_out,
    "loop_lag": lambda one: one.loop_lag_s,
}
"""How much of a resource an edge used in a minute."""

_FEATURES: Final[dict[Resource, Callable[[Minute], tuple[float, ...]]]] = {
    "cpu": lambda one: (one.connections, one.accepted, one.messages_in, one.publishes, one.messages_out),
    "memory": lambda one: (one.connections, one.subscriptions, one.channels),
    "descriptors": lambda one: (one.connections,),
    "bandwidth": lambda one: (one.connections, one.messages_out),
    "loop_lag": lambda one: (waiting(one.cpu),),
}

# The fixed part and one coefficient for each feature; then the noise of one minute's figure. Rounded from
# docs/scaling.md.
PRIORS: Final[dict[Resource, tuple[tuple[float, ...], float]]] = {
    "cpu": ((0.01, 1e-6, 8e-4, 5e-5, 1e-4, 1.5e-5), 0.02),
    "memory": ((43e6, 8.5e3, 1e3, 4e3), 8e6),
    "descriptors": ((30.0, 1.0), 4.0),
    "bandwidth": ((1e3, 5.0, 200.0), 1e5),
    "loop_lag": ((1e-3, 2e-3), 3e-3),
}


def waiting(cpu: float) -> float:
    """p / (1 - p): the length of the queue for a server that is busy for the share `cpu` of the time."""
    busy = min(max(cpu, 0.0), BUSIEST)
    return busy / (1 - busy)


def busy_for(waiting_: float) -> float:
    """The inverse of `waiting`: the share of the time for which a server with a queue of this length is busy."""
    return max(0.0, waiting_) / (1 + max(0.0, waiting_))


class Law(NamedTuple):
    """The law of one resource. `quality` is its R² over the levels of load that were seen, `error` the root mean
    square error, `highest` the largest use that was seen; both in the unit of the resource."""

    resource: Resource
    fixed: float
    slopes: tuple[float, ...]
    quality: float
    error: float
    highest: float

    def variable(self, load: Minute) -> float:
        """What `load` uses beyond the fixed part."""
        return predict(self.slopes, _FEATURES[self.resource](load))

    def usage(self, load: Minute) -> float:
        """What an edge uses at `load`."""
        return self.fixed + self.variable(load)


Laws = dict[Resource, Law]


def fit_laws(levels: Levels) -> Laws:
    """The laws of all resources, from what was seen until now."""
    seen = list(levels)
    weights = [level.weight for level in seen]
    laws: Laws = {}
    for resource in RESOURCES:
        prior, noise = PRIORS[resource]
        rows: list[Sequence[float]] = [(1.0, *_FEATURES[resource](level.mean)) for level in seen]
        used = [USAGE[resource](level.mean) for level in seen]
        found = fit(rows, used, weights, prior, noise)
        fixed, *slopes = found.coefficients
        laws[resource] = Law(resource, fixed, tuple(slopes), found.quality, found.error, max(used, default=0.0))
    return laws
