"""Which edges are alive by their heartbeats, and which listeners are told."""

from __future__ import annotations

from typing import Any

import pytest

from proto.telemetry import HEARTBEAT_INTERVAL_S, EdgeLoad, Heartbeat, Process, encode_heartbeat
from services.edge.cluster import cluster
from services.edge.cluster.cluster import GONE_AFTER_S, SUSPECT_AFTER_S, Cluster

LOAD_FIGURES = (
    "connections", "users", "channels", "subscriptions", "messages_in", "messages_out", "bytes_out", "publishes",
    "accepted",
)  # fmt: skip


def load(**figures: Any) -> EdgeLoad:
    return EdgeLoad(**(dict.fromkeys(LOAD_FIGURES, 0) | figures))


class Heard:
    """A cluster, its events, and `now`, which the test moves."""

    def __init__(self, own: str = "") -> None:
        self.now = 1000.0
        self.told: list[tuple[str, str]] = []
        self.cluster = Cluster(lambda: self.now, own)
        self.cluster.listen(self)

    def edge_found(self, instance: str) -> None:
        assert self.cluster.knows(instance)
        self.told.append(("found", instance))

    def edge_returned(self, instance: str) -> None:
        self.told.append(("returned", instance))

    def edge_lost(self, instance: str) -> None:
        assert not self.cluster.knows(instance)
        self.told.append(("lost", instance))

    def beat(self, instance: str, name: str = "edge-1", **more: Any) -> None:
        process = Process(cpu_s=1, rss_bytes=1, open_fds=1, max_fds=1, loop_lag_s=0, uptime_s=1)
        self.cluster.heard(
            encode_heartbeat(
                Heartbeat(service="edge", name=name, instance=instance, version="1", at=0, process=process, **more)
            )
        )

    def listed(self) -> list[str]:
        return [beat.instance for beat in self.cluster.edges()]


def test_edges_are_listed_by_name() -> None:
    heard = Heard()
    heard.beat("i1", "edge-2")
    heard.beat("i3", "edge-1")
    heard.beat("i2", "edge-1")
    assert heard.listed() == ["i2", "i3", "i1"]


def test_the_last_heartbeat_counts() -> None:
    heard = Heard()
    for connections in (1, 2):
        heard.beat("i1", edge=load(connections=connections))
    (beat,) = heard.cluster.edges()
    assert beat.edge is not None
    assert beat.edge.connections == 2


def test_an_edge_that_falls_silent_is_lost_in_time() -> None:
    heard = Heard()
    heard.beat("i1")
    heard.now += GONE_AFTER_S
    heard.beat("i2")
    heard.cluster.sweep()
    assert heard.listed() == heard.cluster.instances() == ["i1", "i2"]
    heard.now += 0.1
    assert heard.listed() == ["i1", "i2"], "only a sweep judges"
    heard.cluster.sweep()
    assert heard.listed() == heard.cluster.instances() == ["i2"]
    assert not heard.cluster.knows("i1")


def test_each_coming_and_going_is_told_once() -> None:
    heard = Heard()
    heard.beat("i1")
    heard.beat("i1")
    heard.now += GONE_AFTER_S + 0.1
    heard.cluster.sweep()
    heard.cluster.sweep()
    heard.cluster.declare_lost("i1")
    heard.beat("i1")
    heard.cluster.declare_lost("i1")
    assert heard.told == [("found", "i1"), ("lost", "i1")] * 2


def test_all_who_listen_are_told() -> None:
    heard, other = Heard(), Heard()
    heard.cluster.listen(_Notes(other.told))
    heard.beat("i1")
    heard.cluster.declare_lost("i1")
    assert heard.told == other.told == [("found", "i1"), ("lost", "i1")]


class _Notes:
    def __init__(self, told: list[tuple[str, str]]) -> None:
        self.told = told

    def edge_found(self, instance: str) -> None:
        self.told.append(("found", instance))

    def edge_returned(self, instance: str) -> None:
        self.told.append(("returned", instance))

    def edge_lost(self, instance: str) -> None:
        self.told.append(("lost", instance))


def test_an_edge_that_leaves_is_lost_with_its_last_heartbeat() -> None:
    heard = Heard()
    heard.beat("i1", edge=load(drain_left=0))
    heard.beat("i1", edge=load(drain_left=0), leaving=True)
    heard.beat("i1", leaving=True)
    heard.beat("i2", leaving=True)
    assert heard.told == [("found", "i1"), ("lost", "i1")]
    assert heard.listed() == []


def test_a_lost_edge_is_a_warning_with_its_name_and_its_silence_and_one_that_leaves_is_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    heard = Heard()
    heard.beat("i1", "edge-1")
    heard.beat("i2", "edge-2")
    heard.beat("i2", "edge-2", leaving=True)
    heard.now += 1.75
    heard.cluster.declare_lost("i1")
    told = [(r.levelname, vars(r)["edge"], vars(r)["instance"], r.getMessage()) for r in caplog.records[2:]]
    left, lost = told
    assert left == ("INFO", "edge-2", "i2", "another edge has left")
    assert lost[:3] == ("WARNING", "edge-1", "i1") and "silent for 1.8 s" in lost[3]


def test_an_edge_that_is_connected_again_is_told_if_it_was_known_all_the_time() -> None:
    heard = Heard(own="me")
    heard.cluster.returned("i1")
    heard.beat("i1")
    heard.beat("me")
    for instance in ("i1", "i2", "me", ""):
        heard.cluster.returned(instance)
    heard.cluster.declare_lost("i1")
    heard.cluster.returned("i1")
    assert heard.told == [("found", "i1"), ("returned", "i1"), ("lost", "i1")]


def test_a_late_heartbeat_makes_suspect() -> None:
    heard = Heard()
    heard.beat("i1")
    heard.now += SUSPECT_AFTER_S
    heard.beat("i2")
    assert heard.cluster.suspects() == []
    heard.now += 0.1
    assert heard.cluster.suspects() == ["i1"]
    assert heard.cluster.instances() == ["i1", "i2"], "a suspect is asked as others are"
    heard.beat("i1")
    assert heard.cluster.suspects() == []


def test_an_answer_is_as_good_as_a_heartbeat() -> None:
    heard = Heard()
    heard.beat("i1")
    for _ in range(10):
        heard.now += SUSPECT_AFTER_S + 0.1
        assert heard.cluster.suspects() == ["i1"]
        heard.cluster.alive("i1")
        assert heard.cluster.suspects() == []
        heard.cluster.sweep()
    heard.cluster.alive("i2")
    assert heard.listed() == ["i1"], "an answer makes nobody known"


def test_an_accused_edge_is_suspect_until_its_next_sign_of_life() -> None:
    heard = Heard()
    for acquit in (lambda: heard.beat("i1"), lambda: heard.cluster.alive("i1"), heard.cluster.renew):
        heard.beat("i1")
        heard.cluster.suspect("i1")
        assert heard.cluster.suspects() == ["i1"]
        acquit()
        assert heard.cluster.suspects() == []
    heard.cluster.suspect("i2")
    assert heard.cluster.suspects() == []


def test_after_an_outage_everybody_has_the_whole_time_anew() -> None:
    heard = Heard()
    heard.beat("i1")
    heard.now += GONE_AFTER_S + 0.1
    heard.cluster.renew()
    heard.cluster.sweep()
    assert heard.cluster.suspects() == []
    heard.now += GONE_AFTER_S
    heard.cluster.sweep()
    assert heard.cluster.suspects() == ["i1"]


def test_there_is_room_elsewhere_if_another_edge_that_is_alive_says_so() -> None:
    heard = Heard("me")
    heard.beat("me", has_room=True)
    assert not heard.cluster.room_elsewhere(), "this edge is not another one"
    heard.beat("i1", has_room=False)
    assert not heard.cluster.room_elsewhere()
    heard.beat("i2")
    assert heard.cluster.room_elsewhere(), "an edge of an older version does not say it"
    heard.cluster.suspect("i2")
    assert not heard.cluster.room_elsewhere(), "it may be gone"
    heard.beat("i1", has_room=True)
    assert heard.cluster.room_elsewhere()
    heard.beat("i1", leaving=True)
    assert not heard.cluster.room_elsewhere()


def test_it_never_doubts_itself() -> None:
    heard = Heard("me")
    heard.beat("me")
    heard.beat("i1")
    assert heard.listed() == ["i1", "me"]
    heard.now += GONE_AFTER_S + 0.1
    heard.cluster.suspect("me")
    assert heard.cluster.suspects() == ["i1"]
    heard.cluster.sweep()
    heard.cluster.declare_lost("me")
    heard.beat("me", leaving=True)
    assert heard.listed() == ["me"] and heard.cluster.instances() == []
    assert heard.told == [("found", "i1"), ("lost", "i1")]


@pytest.mark.parametrize("data", [b"", b"x", b"{}", b"[]", b'{"service":"\xff"}', b"[" * 100_000])
def test_a_message_that_is_not_a_heartbeat_is_ignored(data: bytes) -> None:
    heard = Heard()
    heard.cluster.heard(data)
    assert heard.listed() == []


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "MAX_EDGES", 3)
    heard = Heard()
    for number in range(5):
        heard.beat(f"i{number}")
    assert heard.listed() == ["i0", "i1", "i2"]
    heard.beat("i1", "renamed")  # a known one is still heard
    assert heard.cluster.edges()[-1].name == "renamed"
    heard.now += GONE_AFTER_S + 0.1
    heard.cluster.sweep()
    heard.beat("i4")
    assert heard.listed() == ["i4"]


def test_one_lost_heartbeat_makes_nobody_suspect_for_long() -> None:
    assert HEARTBEAT_INTERVAL_S < SUSPECT_AFTER_S < 2 * HEARTBEAT_INTERVAL_S < GONE_AFTER_S
