from __future__ import annotations

import pytest

from services.metrics.capacity.headroom import Limits, capacity_of, mix_of, needed_edges, scaled
from services.metrics.capacity.laws import Laws, Resource, fit_laws
from services.metrics.capacity.levels import Levels
from services.metrics.minutes import Minute, whole
from tests.metrics.capacity.edges import CPU_COMMAND, CPU_DELIVERY, CPU_FIXED, minute

LIMITS: Limits = {"cpu": 0.7, "memory": 400e6, "descriptors": 14_000}


def laws_of(*, deliveries: float, commands: float) -> Laws:
    """Learned from edges whose connections receive and send so much a second."""
    levels = Levels()
    for number in range(1, 200):
        n = 12.0 * number
        levels.add(minute(n, deliveries * n, commands * n, at=60 * number))
    return fit_laws(levels)


def on(count: int, connections: float, deliveries: float, commands: float) -> list[Minute]:
    return [
        minute(connections, deliveries * connections, commands * connections, edge=f"edge-{number}")
        for number in range(count)
    ]


def test_headroom_ends_where_the_edge_really_is_at_its_limit():
    laws = laws_of(deliveries=5, commands=0.1)
    edges = on(2, 1000, 5, 0.1)
    found = capacity_of(laws, LIMITS, edges, whole(edges))
    each = 5 * CPU_DELIVERY + 0.1 * CPU_COMMAND
    truth = (0.7 - CPU_FIXED) / each - 1000
    assert found.binding == "cpu"
    assert found.connections == pytest.approx(2 * truth, rel=0.05)
    assert [one.connections for one in found.edges] == pytest.approx([truth, truth], rel=0.05)
    assert found.edges[0].used["cpu"] == pytest.approx(edges[0].cpu / 0.7)


@pytest.mark.parametrize(
    ("deliveries", "limits", "binding"),
    [
        (5.0, {"cpu": 0.7, "memory": 4e9, "descriptors": 1e5}, "cpu"),
        (0.01, {"cpu": 0.7, "memory": 100e6, "descriptors": 1e5}, "memory"),
        (0.01, {"cpu": 0.7, "memory": 4e9, "descriptors": 3000}, "descriptors"),
        (5.0, {"cpu": 0.95, "bandwidth": 1e6}, "bandwidth"),
        (5.0, {"cpu": 0.95, "loop_lag": 0.002}, "loop_lag"),
    ],
)
def test_the_resource_that_binds_first_is_named(deliveries: float, limits: dict[Resource, float], binding: str):
    edges = on(2, 800, deliveries, 0.01)
    found = capacity_of(laws_of(deliveries=deliveries, commands=0.01), limits, edges, whole(edges))
    assert (found.binding, found.needed_for) == (binding, binding)
    assert {one.binding for one in found.edges} == {binding}


def test_the_fullest_edge_has_the_least_room_and_a_draining_one_gives_none():
    laws = laws_of(deliveries=5, commands=0.1)
    edges = [minute(3000, 15_000, 300, edge="a"), minute(500, 2500, 50, edge="b")]
    found = capacity_of(laws, LIMITS, edges, whole(edges))
    rooms = {one.edge: one.connections or 0 for one in found.edges}
    assert rooms["a"] < rooms["b"]
    drained = capacity_of(laws, LIMITS, [edges[0], edges[1]._replace(draining=True)], whole(edges))
    assert drained.connections == pytest.approx(rooms["a"])


def test_an_edge_beyond_its_limit_has_no_room_and_says_so():
    edges = [minute(1000, 40_000, 100)]
    found = capacity_of(laws_of(deliveries=5, commands=0.1), LIMITS, edges, whole(edges))
    assert found.connections == 0
    assert found.edges[0].used["cpu"] > 1
    assert found.needed > 1


def test_needed_edges_carry_the_load_and_one_less_does_not():
    laws = laws_of(deliveries=5, commands=0.1)
    load = whole(on(10, 4000, 5, 0.1))
    needed, resource = needed_edges(laws, LIMITS, load)
    assert resource == "cpu"
    assert laws["cpu"].usage(scaled(load, 1 / needed)) == pytest.approx(0.7)
    assert minute(40_000 / needed, 200_000 / needed, 4000 / needed).cpu == pytest.approx(0.7, rel=0.05)


def test_a_fixed_part_above_the_limit_does_not_ask_for_infinitely_many_edges():
    needed, _ = needed_edges(laws_of(deliveries=5, commands=0.1), {"memory": 10e6}, whole(on(1, 100, 5, 0.1)))
    assert 0 < needed < 10


def test_without_clients_an_idle_one_is_the_measure():
    empty = whole([minute(0)])
    assert (mix_of(empty).connections, mix_of(empty).messages_out) == (1, 0)
    found = capacity_of(fit_laws(Levels()), LIMITS, [minute(0)], empty)
    assert found.connections is not None
    assert found.connections > 1000
    assert found.needed == pytest.approx(0, abs=0.001)


def test_without_limits_nothing_binds():
    edges = on(1, 100, 5, 0.1)
    found = capacity_of(laws_of(deliveries=5, commands=0.1), {}, edges, whole(edges))
    assert (found.connections, found.binding, found.needed) == (None, None, 0)
