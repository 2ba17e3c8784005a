from __future__ import annotations

import asyncio

import pytest

from proto import subjects
from proto.control import Done, Members, encode_answer
from proto.telemetry import LOST_AFTER_S
from services.edge.cluster import failure_detector_nats
from services.edge.cluster.cluster import GONE_AFTER_S, SUSPECT_AFTER_S
from services.edge.cluster.peers import PeersAway
from tests.contract.peers import LONG_S, clients
from tests.edge.cluster.edges_nats import FLUSH_TIMEOUT_S, heartbeat, running
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration


def test_the_watch_looks_often_enough_for_the_bound_on_ghosts():
    look_s = failure_detector_nats._WATCH_INTERVAL_S + failure_detector_nats._PROBE_TIMEOUT_S
    assert GONE_AFTER_S + look_s < LOST_AFTER_S
    assert SUSPECT_AFTER_S + look_s + FLUSH_TIMEOUT_S < GONE_AFTER_S, "NATS is doubted first"


async def test_edges_know_each_other_when_the_start_returns(nats_server):
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        for edge in (a, b):
            edge.tasks.pop().cancel()  # no heartbeat but those that the roll call brought about
        async with running(nats_server.url, "c") as c:
            assert c.heard.there == {"a", "b"}
            assert clients(await c.peers.ask_all(Members("x"))) == {"a-0", "b-0", "c-0"}
            assert a.heard.there == {"b", "c"} and b.heard.there == {"a", "c"}


async def test_many_roll_calls_are_answered_by_few_heartbeats(nats_server):
    async with running(nats_server.url, "a") as a, linked(nats_server.url) as link:
        a.tasks.pop().cancel()
        before = a.beats
        for _ in range(100):
            link.publish(subjects.ROLL_CALL, b"")
        await link.flush()
        await eventually(lambda: a.beats > before)
        assert a.beats < before + 50


async def test_an_edge_that_leaves_is_gone_with_its_last_heartbeat(nats_server):
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        b.tasks.pop().cancel()
        b.beat(leaving=True)
        await eventually(lambda: a.heard.lost == ["b"])


async def test_a_killed_edge_is_found_by_itself(nats_server):
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        b.kill()
        await eventually(lambda: a.heard.lost == ["b"])


async def test_an_edge_that_was_cut_off_for_a_moment_is_told_to_the_others(nats_server):
    """What it sent meanwhile, its members' leaves for example, they have not heard."""
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        b.transport.abort()
        await eventually(lambda: a.heard.returned == ["b"])
        assert a.heard.lost == b.heard.lost == [] and a.heard.there == {"b"}


async def test_an_answer_is_a_sign_of_life(nats_server):
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        a.tasks[0].cancel()
        b.tasks.pop().cancel()
        a.stop_the_clock()
        await a.peers.ask_all(Members("x"))
        a.turn_the_clock(SUSPECT_AFTER_S / 2)
        await a.peers.ask_all(Members("x"))
        a.turn_the_clock(SUSPECT_AFTER_S / 2 + 0.1)
        assert a.cluster.suspects() == []


async def test_that_nobody_is_there_must_be_said_twice(nats_server):
    async with running(nats_server.url, "a") as a, linked(nats_server.url) as link:
        a.stop_the_clock()
        link.publish(subjects.telemetry("edge", "z"), heartbeat("z"))
        await eventually(lambda: a.heard.there == {"z"})
        a.cluster.suspect("z")
        await eventually(lambda: a.nats._struck == {"z"})
        link.subscribe(
            subjects.edge_control("z"),
            lambda subject, reply, headers, data: link.publish(reply.decode(), encode_answer(Done())),
        )
        await eventually(lambda: a.cluster.suspects() == [])
        assert a.heard.lost == []


async def test_an_edge_that_answers_without_beating_is_alive(nats_server):
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        b.tasks.pop().cancel()
        a.stop_the_clock()
        for _ in range(int(LOST_AFTER_S / SUSPECT_AFTER_S) + 2):
            a.turn_the_clock(SUSPECT_AFTER_S + 0.1)
            await eventually(lambda: a.cluster.suspects() == [])
        assert a.heard.lost == []


async def test_nobody_is_lost_because_nats_was_away(nats_server):
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        nats_server.kill9()
        await eventually(lambda: not a.link.is_connected and not b.link.is_connected)
        with pytest.raises(PeersAway, match="NATS is unavailable"):
            await a.peers.ask_all(Members("x"))
        for edge in (a, b):
            edge.turn_the_clock(1000)
        assert a.cluster.suspects() == ["b"]
        nats_server.start()
        await eventually(lambda: a.link.is_connected)
        assert clients(await a.peers.ask_all(Members("x"), LONG_S)) == {"a-0", "b-0"}
        assert a.heard.lost == b.heard.lost == []


async def test_nobody_is_lost_because_nats_was_silent(nats_server, monkeypatch):
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        renewed = asyncio.Event()
        renew = a.cluster.renew

        def noted() -> None:
            renewed.set()
            renew()

        monkeypatch.setattr(a.cluster, "renew", noted)
        nats_server.pause()
        await renewed.wait()
        nats_server.resume()
        assert clients(await a.peers.ask_all(Members("x"), LONG_S)) == {"a-0", "b-0"}
        assert a.heard.lost == b.heard.lost == []


async def test_nobody_is_lost_because_this_edge_is_late(nats_server, monkeypatch):
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        flush, looks = a.link.flush, asyncio.Event()

        async def noted(timeout_s: float) -> None:
            looks.set()
            await flush(timeout_s)

        a.transport.pause_reading()
        before = b.beats
        await eventually(lambda: b.beats > before)
        await b.link.flush()  # NATS holds that heartbeat for this edge, ahead of what comes after it
        monkeypatch.setattr(a.link, "flush", noted)
        a.turn_the_clock(1000)
        await looks.wait()
        a.transport.resume_reading()
        await eventually(lambda: a.cluster.suspects() == [])
        assert a.heard.lost == []
