"""Followers: who gets what, who is cut, and who comes back."""

from __future__ import annotations

import json
from collections.abc import Sequence

from msgspec.structs import replace

from services.sessions.api.live import (
    MAX_KEPT,
    MAX_KEPT_BYTES,
    MAX_WAITING,
    MAX_WAITING_BYTES,
    Follower,
    Hub,
    LiveFilter,
    written,
)
from services.sessions.api.live_views import MAX_CHANNELS
from services.sessions.changes import Change, ChangeKind, Changes
from services.sessions.rows import Session
from services.sessions.store import Position

ALL = LiveFilter()


def commit(number: int, *changes: Change, whole: bool = True) -> Changes:
    return Changes(("e", number - 1), ("e", number), list(changes), whole)


def change(kind: ChangeKind, id_: str, user: str, channels: Sequence[str] = ()) -> Change:
    row = Session(id_, user, "", "web", "1", "edge-1", "i", id_, 1, 1_000, None)
    return Change(kind, id_, row, list(channels))


def ann(id_: str = "a", channels: Sequence[str] = ()) -> Change:
    return change("opened", id_, "ann", channels)


def follow(hub: Hub, filter_: LiveFilter = ALL, since: int | None = None) -> Follower:
    return hub.follow(filter_, None if since is None else Position("e", since), lambda: None)


def kinds(follower: Follower) -> list[str]:
    return [event.kind for event in follower.take()]


def test_each_follower_gets_what_it_follows() -> None:
    hub = Hub()
    everything, of_ann, of_news = (
        follow(hub),
        follow(hub, LiveFilter(user="ann")),
        follow(hub, LiveFilter(channel="news")),
    )
    hub.heard(commit(1, ann(), change("subscribed", "b", "bob", ["news"]), Change("removed", "z")))
    assert kinds(everything) == ["opened", "subscribed", "removed"]
    assert kinds(of_ann) == ["opened", "removed"] and kinds(of_news) == ["subscribed", "removed"]
    assert kinds(everything) == []


def test_only_the_last_event_of_a_commit_has_its_position() -> None:
    hub = Hub()
    follower = follow(hub)
    hub.heard(commit(7, ann("a"), ann("b")))
    first, last = map(written, follower.take())
    assert b"id:" not in first and b"id: e:7\n" in last
    assert json.loads(last.split(b"data: ")[1])["id"] == "b"


def test_a_gap_between_commits_resets_everybody_once() -> None:
    hub = Hub()
    follower = follow(hub)
    hub.heard(commit(1, ann()))
    hub.heard(commit(3, ann()))
    assert kinds(follower) == ["reset"]
    hub.heard(commit(4, ann()))
    assert kinds(follower) == ["opened"]
    hub.heard(commit(5, whole=False))
    assert kinds(follower) == ["reset"]


def test_rows_that_changed_without_a_commit_reset_everybody() -> None:
    """A letter was replayed, or a model rebuilt: nobody was told what changed."""
    hub = Hub()
    hub.heard(commit(1, ann()))
    follower = follow(hub)
    hub.heard(replace(commit(2, ann()), generation=1))
    assert kinds(follower) == ["reset"]
    assert kinds(follow(hub, since=1)) == ["reset"], "nor does who comes back from before miss it"
    hub.heard(replace(commit(3, ann()), generation=1))
    assert kinds(follower) == ["opened"] == kinds(follow(hub, since=2))


def test_who_follows_is_told_when_nats_was_away() -> None:
    hub = Hub()
    hub.heard(commit(1, ann()))
    follower = follow(hub)
    hub.missed()
    assert kinds(follower) == ["reset"] == kinds(follow(hub, since=1))


def test_changes_are_wanted_when_somebody_follows_and_when_they_were_not_told() -> None:
    wanted: list[bool] = []
    hub = Hub(lambda: wanted.append(True))
    hub.heard(commit(1, whole=False))
    assert not wanted
    follower = follow(hub)
    assert len(wanted) == 1
    hub.heard(commit(2, whole=False))
    assert len(wanted) == 2 and kinds(follower) == ["reset"]


def test_a_change_reaches_who_follows_a_channel_beyond_those_that_an_event_has() -> None:
    hub = Hub()
    of_zebra, of_yak = follow(hub, LiveFilter(channel="zebra")), follow(hub, LiveFilter(channel="yak"))
    hub.heard(commit(1, ann(channels=[*(f"c{n:03}" for n in range(MAX_CHANNELS)), "zebra"])))
    assert kinds(of_zebra) == ["opened"] and kinds(of_yak) == []


def test_who_follows_an_edge_is_told_that_a_session_has_left_it() -> None:
    hub = Hub()
    of_old, of_new, of_other = (follow(hub, LiveFilter(edge=name)) for name in ("edge-0", "edge-1", "edge-2"))
    moved = ann()
    moved.left_edge = "edge-0"
    hub.heard(commit(1, moved))
    assert json.loads(of_old.take()[0].data)["edge"] == "edge-1"
    assert kinds(of_new) == ["opened"] and kinds(of_other) == []


def test_who_comes_back_gets_what_it_missed() -> None:
    hub = Hub()
    for number in range(1, 6):
        hub.heard(commit(number, ann(str(number))))
    back = follow(hub, since=3)
    assert [json.loads(event.data)["id"] for event in back.take()] == ["4", "5"]
    assert kinds(follow(hub, since=5)) == []
    assert kinds(follow(hub, since=9)) == ["reset"] == kinds(follow(Hub(), since=0))
    hub.heard(commit(6, whole=False))
    assert kinds(follow(hub, since=4)) == ["reset"]
    assert kinds(follow(hub, since=6)) == []


def test_what_is_kept_is_bounded() -> None:
    hub = Hub()
    for number in range(1, MAX_KEPT // 10 + 20):
        hub.heard(commit(number, *(ann(str(n)) for n in range(10))))
    assert kinds(follow(hub, since=5)) == ["reset"]
    assert kinds(follow(hub, since=MAX_KEPT // 10)) == ["opened"] * 190
    assert kinds(follow(hub, since=100)) == ["reset"], "more than may wait for one"


WIDE = ["x" * 500] * 100


def test_what_waits_and_what_is_kept_is_bounded_in_bytes_too() -> None:
    """A change may name a hundred channels of five hundred letters each."""
    hub, size = Hub(), len("".join(WIDE))
    follower, number = follow(hub), 0
    while number * size < MAX_WAITING_BYTES:
        number += 1
        hub.heard(commit(number, ann(channels=WIDE)))
    assert number < MAX_WAITING and kinds(follower) == ["slow"]
    assert kinds(follow(hub, since=0)) == ["reset"], "who comes back is not cut again and again"
    while number * size < MAX_KEPT_BYTES:
        number += 1
        hub.heard(commit(number, ann(channels=WIDE)))
    assert kinds(follow(hub, LiveFilter(user="bob"), since=0)) == ["reset"]
    assert kinds(follow(hub, LiveFilter(user="bob"), since=number - 100)) == []


def test_a_slow_one_is_cut_and_told() -> None:
    hub = Hub()
    slow, quick = follow(hub), follow(hub)
    for number in range(1, MAX_WAITING + 2):
        hub.heard(commit(number, ann()))
        quick.take()
    assert slow.closed and kinds(slow) == ["slow"]
    hub.heard(commit(MAX_WAITING + 2, ann()))
    assert kinds(slow) == [] and kinds(quick) == ["opened"]


def test_all_are_told_when_the_instance_stops() -> None:
    hub = Hub()
    follower = follow(hub)
    hub.heard(commit(1, ann()))
    hub.close()
    assert kinds(follower) == ["opened", "stopping"] and follower.closed
    hub.leave(follower)
    assert len(hub) == 0
