"""Edges that run vouch for a stream to one that starts, before that is written anywhere."""

from __future__ import annotations

import pytest

from services.chassis.nats.link import NatsAway, NatsLink
from services.edge.broker import rollback_nats
from services.edge.broker.vouching_nats import asked, question
from tests.contract.broker import NEWS, Listener, store
from tests.edge.broker.test_broker_nats import broker
from tests.support.eventually import eventually


@pytest.fixture
def unrecorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nobody can write down who leads a stream, as while JetStream has no leader. Returns those that were to be."""
    streams: list[str] = []

    async def change(link: NatsLink, stream: str, *others: object) -> None:
        streams.append(stream)
        raise NatsAway("JetStream has no leader")

    monkeypatch.setattr(rollback_nats, "change_metadata", change)
    return streams


@pytest.mark.integration
async def test_an_edge_that_starts_ends_no_epoch_for_which_another_one_vouches(nats_server, request):
    async with broker(nats_server.url, Listener()) as stays:
        position = await store(stays, NEWS, 1)
        streams: list[str] = request.getfixturevalue("unrecorded")
        nats_server.kill9()
        await eventually(lambda: not stays.available)
        nats_server.start()
        await eventually(lambda: stays.available)
        assert "CH_news_0" in streams, "it goes on before that is written"
        async with broker(nats_server.url, Listener()) as starts:
            assert starts.epoch(NEWS) == stays.epoch(NEWS) == position.epoch
            assert (await store(starts, NEWS, 2)).epoch == position.epoch


@pytest.mark.integration
async def test_an_edge_that_knows_nothing_vouches_for_nothing(nats_server):
    async with broker(nats_server.url, Listener()) as a:
        before = await store(a, NEWS, 1)
    nats_server.stop()
    nats_server.start()
    async with broker(nats_server.url, Listener(), {}), broker(nats_server.url, Listener()) as a:
        assert a.epoch(NEWS) != before.epoch and a.continued(NEWS, before).epoch == a.epoch(NEWS)


def test_a_question_is_read_as_it_was_asked():
    assert asked(question("CH_a_0", "epoch", "n1@2026")) == ("CH_a_0", "epoch", "n1@2026")
    assert asked(b"") is asked(b"a\nb") is asked(b"a\n\nc") is asked(b"\xff") is None
