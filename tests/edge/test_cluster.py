"""Which edges are alive, as their heartbeats say."""

from __future__ import annotations

from typing import Any

import pytest

from proto.telemetry import LOST_AFTER_S, EdgeLoad, Heartbeat, Process, encode_heartbeat
from services.edge import cluster
from services.edge.cluster import Cluster


class Heard:
    """A cluster, and `now`, which the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.cluster = Cluster(lambda: self.now)

    def beat(self, instance: str, name: str = "edge-1", **more: Any) -> None:
        process = Process(cpu_s=1, rss_bytes=1, open_fds=1, max_fds=1, loop_lag_s=0, uptime_s=1)
        self.cluster.heard(
            encode_heartbeat(
                Heartbeat(service="edge", name=name, instance=instance, version="1", at=0, process=process, **more)
            )
        )

    def instances(self) -> list[str]:
        return [beat.instance for beat in self.cluster.edges()]


def test_edges_are_listed_by_name() -> None:
    heard = Heard()
    heard.beat("i1", "edge-2")
    heard.beat("i3", "edge-1")
    heard.beat("i2", "edge-1")
    assert heard.instances() == ["i2", "i3", "i1"]


def test_the_last_heartbeat_counts() -> None:
    heard = Heard()
    load = dict.fromkeys(("users", "channels", "subscriptions", "messages_in", "messages_out"), 0)
    load |= dict.fromkeys(("bytes_out", "publishes", "accepted"), 0)
    for connections in (1, 2):
        heard.beat("i1", edge=EdgeLoad(connections=connections, **load))
    (beat,) = heard.cluster.edges()
    assert beat.edge is not None
    assert beat.edge.connections == 2


def test_an_edge_that_falls_silent_is_gone_in_time() -> None:
    heard = Heard()
    heard.beat("i1")
    heard.now += LOST_AFTER_S
    heard.beat("i2")
    assert heard.instances() == ["i1", "i2"]
    heard.now += 0.1
    assert heard.instances() == ["i2"]
    heard.beat("i1")
    assert heard.instances() == ["i1", "i2"]


@pytest.mark.parametrize("data", [b"", b"x", b"{}", b"[]", b'{"service":"\xff"}', b"[" * 100_000])
def test_what_is_no_heartbeat_is_ignored(data: bytes) -> None:
    heard = Heard()
    heard.cluster.heard(data)
    assert heard.instances() == []


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "MAX_EDGES", 3)
    heard = Heard()
    for number in range(5):
        heard.beat(f"i{number}")
    assert heard.instances() == ["i0", "i1", "i2"]
    heard.beat("i1", "renamed")  # a known one is still heard
    assert heard.cluster.edges()[-1].name == "renamed"
    heard.now += LOST_AFTER_S + 0.1
    heard.beat("i4")
    assert heard.instances() == ["i4"]
