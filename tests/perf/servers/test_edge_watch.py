"""Memory and CPU of the edges add up, by edge and whole, also when edges come and go."""

from __future__ import annotations

import msgspec

from perf.servers import edge_watch
from perf.servers.edge_watch import EdgeWatch, Maxima, PerConnection
from proto.telemetry import Heartbeat, Process


def beat(name: str, rss: int, cpu: float, lag: float = 0.0, service: str = "edge") -> Heartbeat:
    process = Process(cpu_s=cpu, rss_bytes=rss, open_fds=1, max_fds=2, loop_lag_s=lag, uptime_s=1)
    return Heartbeat(service=service, name=name, instance=f"{name}-i", version="1", at=0, process=process)


def test_each_edge_and_the_whole_before_and_after() -> None:
    watch = EdgeWatch()
    watch.receive(beat("a", 100, 1.0), 0)
    watch.receive(beat("b", 200, 2.0), 0)
    watch.receive(beat("s", 9, 9.0, service="sessions"), 0)
    before = watch.snapshot()
    watch.receive(beat("a", 150, 1.5), 1)
    watch.receive(beat("c", 10, 0.1), 1)
    after = watch.snapshot()
    assert msgspec.to_builtins(edge_watch.rss_bytes(before, after)) == {
        "edges": {
            "a": {"before": 100, "after": 150, "change": 50},
            "b": {"before": 200, "after": 200, "change": 0},
            "c": {"before": 0, "after": 10, "change": 10},
        },
        "total": {"before": 300, "after": 360, "change": 60},
    }
    cpu = msgspec.to_builtins(edge_watch.cpu_s(before, after))
    assert cpu["total"] == {"before": 3.0, "after": 3.6, "change": 0.6}
    assert edge_watch.per_connection(before, after, connections=3) == PerConnection(rss_bytes=20, cpu_s=0.2)


def test_freshness_waits_for_live_edges_and_not_for_lost_ones() -> None:
    watch = EdgeWatch()
    watch.receive(beat("a", 1, 1), 10.0)
    watch.receive(beat("dead", 1, 1), 1.0)
    assert watch.fresh_since(9.5, now=10.5)
    assert not watch.fresh_since(10.1, now=10.5)


def test_maxima_are_of_the_run() -> None:
    watch = EdgeWatch()
    watch.receive(beat("a", 900, 1, lag=2.0), 0)
    watch.reset_maxima()
    watch.receive(beat("a", 500, 1, lag=0.25), 1)
    watch.receive(beat("a", 400, 1, lag=0.01), 2)
    assert watch.maxima() == {"a": Maxima(loop_lag_s=0.25, rss_bytes=500)}
