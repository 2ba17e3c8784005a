"""What the laws answer: how many more connections, which resource binds first, how many edges a load needs.

New clients are assumed to behave like the present ones on average: the *mix*, the whole load divided by the
connections. An edge's headroom starts from its measured use now; the law only says how that grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from services.metrics.capacity.laws import RESOURCES, USAGE, Law, Laws, Resource, busy_for
from services.metrics.minutes import Minute

_LEAST_ROOM: Final = 0.1
"""At least this share of a limit counts as available for load. Otherwise a fixed part above the limit (because the
limit is set too low, or a measurement is disturbed) would ask for infinitely many edges."""

_LOADS: Final = (
    "connections",
    "users",
    "channels",
    "subscriptions",
    "accepted",
    "messages_in",
    "messages_out",
    "publishes",
    "bytes_out",
)
_IDLE: Final = Minute(0, "", 0, connections=1, subscriptions=1)  # a client, while there are none to learn from

Limits = Mapping[Resource, float]
"""The most that an edge should use of each resource, in the resource's unit; a resource without a limit is absent."""


class EdgeHeadroom(NamedTuple):
    """One edge. `connections` is how many more it can take before `binding` reaches its limit; None if nothing limits
    them. `used` is the share of each limit that it uses now; above 1 the limit is exceeded."""

    edge: str
    draining: bool
    connections: float | None
    binding: Resource | None
    used: dict[Resource, float]


class Capacity(NamedTuple):
    """The whole cluster. `connections` is how many more connections all edges that do not drain can take, `by_resource`
    the same if only this resource were limited. `needed` is how many edges the present load needs, not rounded."""

    edges: tuple[EdgeHeadroom, ...]
    connections: float | None
    binding: Resource | None
    by_resource: dict[Resource, float]
    needed: float
    needed_for: Resource | None


def mix_of(whole: Minute) -> Minute:
    """The load of one average connection; without connections, the load of an idle one."""
    if whole.connections < 1:
        return _IDLE
    return scaled(whole, 1 / whole.connections)


def scaled(load: Minute, factor: float) -> Minute:
    """`factor` times the load."""
    return load._replace(**{name: getattr(load, name) * factor for name in _LOADS})


def capacity_of(laws: Laws, limits: Limits, edges: Sequence[Minute], whole: Minute) -> Capacity:
    """What the edges of one minute can carry beyond what they carry now."""
    mix = mix_of(whole)
    each = tuple(_edge(laws, limits, edge, mix) for edge in edges)
    taking = [one for one in zip(each, edges, strict=True) if not one[1].draining]
    by_resource: dict[Resource, float] = {}
    for resource in RESOURCES:
        rooms = [_room(laws, limits, edge, mix, resource) for _, edge in taking]
        known = [room for room in rooms if room is not None]
        if known and len(known) == len(rooms):
            by_resource[resource] = sum(known)
    least = [one.connections for one, _ in taking]
    finite = [room for room in least if room is not None]
    needed, needed_for = needed_edges(laws, limits, whole)
    return Capacity(
        each,
        sum(finite) if finite and len(finite) == len(least) else None,
        _least(by_resource),
        by_resource,
        needed,
        needed_for,
    )


def needed_edges(laws: Laws, limits: Limits, load: Minute) -> tuple[float, Resource | None]:
    """How many edges carry `load` (of the whole cluster, spread evenly) within the limits, not rounded; and the
    resource that requires them."""
    needed: dict[Resource, float] = {}
    for resource in RESOURCES:
        limited = _limited(laws, limits, resource)
        if limited is not None:
            law, limit = limited
            needed[resource] = law.variable(load) / max(limit - law.fixed, _LEAST_ROOM * limit)
    if not needed:
        return 0.0, None
    most = max(needed, key=needed.__getitem__)
    return needed[most], most


def _least(rooms: dict[Resource, float]) -> Resource | None:
    if not rooms:
        return None
    return min(rooms, key=rooms.__getitem__)


def _limited(laws: Laws, limits: Limits, resource: Resource) -> tuple[Law, float] | None:
    """The law that grows with the load, and its limit. The limit on the loop lag is expressed as a limit on the CPU
    use."""
    if resource not in limits:
        return None
    if resource != "loop_lag":
        return laws[resource], limits[resource]
    lag = laws["loop_lag"]
    if not lag.slopes[0]:
        return None
    room = max(limits["loop_lag"] - lag.fixed, _LEAST_ROOM * limits["loop_lag"])
    return laws["cpu"], busy_for(room / lag.slopes[0])


def _room(laws: Laws, limits: Limits, edge: Minute, mix: Minute, resource: Resource) -> float | None:
    limited = _limited(laws, limits, resource)
    if limited is None:
        return None
    law, limit = limited
    each = law.variable(mix)
    return max(0.0, limit - USAGE[law.resource](edge)) / each if each else None


def _edge(laws: Laws, limits: Limits, edge: Minute, mix: Minute) -> EdgeHeadroom:
    rooms = {resource: _room(laws, limits, edge, mix, resource) for resource in RESOURCES}
    known = {resource: room for resource, room in rooms.items() if room is not None}
    binding = _least(known)
    used = {resource: USAGE[resource](edge) / limits[resource] for resource in RESOURCES if resource in limits}
    return EdgeHeadroom(edge.edge, edge.draining, known[binding] if binding is not None else None, binding, used)
