"""Several client processes are one run: one schedule, one result, and nothing is left behind."""

from __future__ import annotations

import os
import signal

import pytest

from perf.load.child_process import ChildDied
from perf.load.dialects.centrifuge import Centrifuge
from perf.load.fleet import Fleet
from perf.load.pacing import Schedule
from perf.load.plan import Plan
from tests.perf.load.stub_edge import StubEdge
from tests.support.eventually import eventually


def plan(stub: StubEdge, count: int = 7) -> Plan:
    return Plan("127.0.0.1", stub.port, Centrifuge(channel="perf:{i}"), Schedule(count, 1000.0))


async def test_the_processes_share_one_schedule_and_their_figures_are_merged(stub: StubEdge) -> None:
    async with Fleet(plan(stub), processes=2) as fleet:
        fleet.begin()
        assert await fleet.until(lambda: fleet.settled, within_s=20)
        assert {command["subscribe"]["channel"] for command in stub.commands if "subscribe" in command} == {
            f"perf:{i}" for i in range(7)
        }
        tally = await fleet.finish()
    assert (tally.progress.attempted, tally.progress.connected, tally.progress.lost) == (7, 7, 0)
    assert len(tally.connect_s) == 7
    assert tally.last_established_at > fleet.started_at
    await eventually(lambda: stub.close_codes == [1000] * 7)


async def test_losses_of_all_processes_are_seen_while_they_hold(stub: StubEdge) -> None:
    async with Fleet(plan(stub), processes=2) as fleet:
        fleet.begin()
        assert await fleet.until(lambda: fleet.progress.connected == 7, within_s=20)
        await stub.close(1001, "shutdown")
        assert await fleet.until(lambda: fleet.progress.lost == 7, within_s=20)
        assert (await fleet.finish()).losses == {"close 1001 shutdown": 7}


async def test_a_client_process_that_dies_ends_the_run(stub: StubEdge) -> None:
    async with Fleet(plan(stub), processes=2) as fleet:
        fleet.begin()
        await fleet.until(lambda: fleet.settled, within_s=20)
        os.kill(fleet.pids[0], signal.SIGKILL)
        with pytest.raises(ChildDied, match="perf-clients-0 ended with exit code -9"):
            await fleet.until(lambda: False, within_s=20)
    await eventually(lambda: not stub.open)
