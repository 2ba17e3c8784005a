from __future__ import annotations

import pytest

from services.chassis.link_nats import NatsAway, NatsRefused, NobodyAnswers
from tests.support.links import linked

pytestmark = pytest.mark.integration


async def test_a_request_that_nobody_hears_is_told_from_one_that_nobody_answers(nats_server):
    async with linked(nats_server.url) as here, linked(nats_server.url) as there:
        number = there.listen("somebody", lambda subject, reply, headers, data: None)
        await there.settle()
        with pytest.raises(NobodyAnswers):
            await here.ask("nobody", b"", timeout_s=30)
        with pytest.raises(NatsAway) as silent:
            await here.ask("somebody", b"", timeout_s=0.05)
        assert not isinstance(silent.value, NobodyAnswers)
        there.unlisten(number)
        await there.settle()
        with pytest.raises(NobodyAnswers):
            await here.ask("somebody", b"", timeout_s=30)


async def test_a_subject_that_nats_would_cut_the_connection_for_is_refused(nats_server):
    async with linked(nats_server.url) as here:
        with pytest.raises(NatsRefused):
            here.publish_now("send." + "%C3%A9" * 700, b"")
        await here.settle()
        assert here.is_connected
