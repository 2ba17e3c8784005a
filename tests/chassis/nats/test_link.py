from __future__ import annotations

import asyncio

import pytest

from services.chassis.nats.link import NatsAway, NatsRefused, NobodyAnswers
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration


async def test_a_request_that_nobody_hears_is_told_from_one_that_nobody_answers(nats_server):
    async with linked(nats_server.url) as here, linked(nats_server.url) as there:
        number = there.subscribe("somebody", lambda subject, reply, headers, data: None)
        await there.flush()
        with pytest.raises(NobodyAnswers):
            await here.request("nobody", b"", timeout_s=30)
        with pytest.raises(NatsAway) as silent:
            await here.request("somebody", b"", timeout_s=0.05)
        assert not isinstance(silent.value, NobodyAnswers)
        there.unsubscribe(number)
        await there.flush()
        with pytest.raises(NobodyAnswers):
            await here.request("somebody", b"", timeout_s=30)


async def test_a_subject_that_nats_would_cut_the_connection_for_is_refused(nats_server):
    async with linked(nats_server.url) as here:
        with pytest.raises(NatsRefused):
            here.publish("send." + "%C3%A9" * 700, b"")
        await here.flush()
        assert here.is_connected


async def test_subscriptions_stand_again_when_nats_was_away_and_ended_ones_do_not(nats_server):
    async with linked(nats_server.url) as here, linked(nats_server.url) as there:
        heard: list[bytes] = []
        stays = here.subscribe("stays", lambda subject, reply, headers, data: heard.append(subject))
        ends = here.subscribe("ends", lambda subject, reply, headers, data: heard.append(subject))
        await here.flush()
        here.subscribe("unsent", lambda subject, reply, headers, data: heard.append(subject))  # while it is cut off
        nats_server.kill9()
        await eventually(lambda: not here.is_connected and not there.is_connected)
        here.unsubscribe(ends)
        here.subscribe("new", lambda subject, reply, headers, data: heard.append(subject))
        nats_server.start()
        await eventually(lambda: here.is_connected and there.is_connected)
        await eventually(here.flush)
        for subject in ("stays", "unsent", "new"):
            there.publish(subject, b"")
        with pytest.raises(NobodyAnswers):
            await there.request("ends", b"", timeout_s=30)
        await eventually(lambda: heard == [b"stays", b"unsent", b"new"])
        here.unsubscribe(stays)


async def test_what_waited_for_the_socket_when_nats_went_away_is_not_sent_late(nats_server):
    """Its sender has got an error, and may have sent it again in another way."""
    async with linked(nats_server.url) as here:
        nats_server.pause()
        for _ in range(14):
            here.publish("filler", bytes(512 * 1024))  # more than the sockets' buffers hold
        asked = asyncio.create_task(here.request("late", b""))
        await asyncio.sleep(0)
        here.publish("late", b"")
        nats_server.kill9()
        with pytest.raises(NatsAway, match="dropped"):
            await asked
        assert not here.is_connected and here._client.pending_data_size == 0


async def test_questions_open_when_nats_goes_away_fail_at_once(nats_server):
    async with linked(nats_server.url) as here, linked(nats_server.url) as there:
        there.subscribe("silent", lambda subject, reply, headers, data: None)
        await there.flush()
        asked = asyncio.create_task(here.request("silent", b"", timeout_s=60))
        await here.flush()
        nats_server.kill9()
        with pytest.raises(NatsAway, match="dropped"):
            await asyncio.wait_for(asked, 20)


async def test_closing_ends_a_reconnect_in_which_a_cancellation_is_lost(nats_server, monkeypatch):
    """As Python 3.11 loses a cancellation that meets a refused connect: the task would run forever."""
    entered, lost = asyncio.Event(), []

    async def connect(server):
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.append(True)
            if len(lost) == 1:
                raise OSError("refused") from None
            raise

    async with linked(nats_server.url) as link:
        monkeypatch.setattr(link._client, "_connect_to_server", connect)
        nats_server.kill9()
        await asyncio.wait_for(entered.wait(), 20)
        reconnecting = link._client._reconnection_task
        await link.close()
        assert reconnecting is not None and reconnecting.done()
