"""The clients of one process: opened on schedule, held, and let go. One pacing timer, one sweep, nothing per client.

What a run costs the generator must not show up as the server's slowness, so it measures itself: how late it started
each connection, and how late its own timers fired.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from perf import failures, frames
from perf.dialects import Opening
from perf.ears import Ears, Heard
from perf.pacing import Pacer, Schedule
from perf.plan import Plan
from perf.speaker import Speaker
from perf.tally import Progress, Tally
from perf.wire_client import WireClient

SWEEP_INTERVAL_S = 0.05
"""Resolution of timeouts, and of the samples of the loop's lateness."""

MAX_BURST = 32
"""Connections started in one turn of the loop at most, replies are read in between."""

MAX_LAG_SAMPLES = 100_000
"""Over an hour of sweeps."""

GOODBYES_AT_ONCE = 250

COMEBACK_WAIT_S = 0.2
"""Between attempts of a client to come back; the first one is at once."""


class Generator:
    """See the module. Call `begin`, watch `progress`, then `await finish()`."""

    def __init__(self, plan: Plan) -> None:
        self.tally = Tally()
        self._plan = plan
        self._pacer = Pacer(plan.schedule)
        self._loop = asyncio.get_running_loop()
        self._openings = {index: plan.dialect.opening(index) for index in plan.schedule.share}
        self._requests: dict[tuple[str, str], bytes] = {}
        self._ears = Ears(plan.sample_every, plan.ordered)
        self._taken = 0  # messages of `take`
        self._pending: dict[WireClient, asyncio.Task[None]] = {}  # oldest first, so the sweep stops at the first young
        self._open: dict[WireClient, None] = {}  # established ones whose socket is not closed yet, oldest first
        self._speaker: Speaker | None = None
        self._start = 0.0
        self._finishing = False
        self._emptied = asyncio.Event()
        self._sweeping: asyncio.TimerHandle | None = None

    def begin(self, start: float) -> None:
        """The schedule counts from `start`, which lies a little in the future."""
        self._start = start
        self._sweeping = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep, time.monotonic() + SWEEP_INTERVAL_S)
        self._tick()

    @property
    def progress(self) -> Progress:
        self.tally.progress.messages = self._taken + self._ears.heard.messages
        return self.tally.progress

    def take(self) -> Heard:
        """What the clients heard since the last take."""
        heard = self._ears.take()
        self._taken += heard.messages
        return heard

    def deafen(self, below: int) -> None:
        """The clients with numbers below that read nothing any more."""
        for client in self._open:
            if client.index < below:
                client.deafen()

    def talk(self, start: float) -> None:
        """The clients that are there say what the plan has for them; its schedule counts from `start`."""
        assert self._plan.talk is not None
        self._speaker = Speaker(self._plan.talk, self._plan.dialect, list(self._open), self.tally)
        self._speaker.begin(start)

    async def finish(self, within_s: float = 5.0) -> Tally:
        """Stops opening, says goodbye to those that are held, and waits for the server to close them."""
        self._pacer = Pacer(Schedule(0, 1))
        self._finishing = True
        if self._speaker is not None:
            self._speaker.stop()
        for client in list(self._pending):
            self._give_up(client, "local: the run ended first")
        for number, client in enumerate(list(self._open)):
            client.leave()
            if number % GOODBYES_AT_ONCE == 0:
                await asyncio.sleep(0)  # lets answers in between
        if self._open:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), within_s)
        self.tally.unanswered_goodbyes = len(self._open)
        for client in list(self._open):
            client.fail("local: the goodbye was not answered")
        if self._sweeping is not None:
            self._sweeping.cancel()
        self.tally.progress = self.progress
        self.tally.heard = self.take()
        self.tally.cpu_s = time.process_time()
        return self.tally

    # --- opening --------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        elapsed = time.monotonic() - self._start
        for index, due in self._pacer.take(elapsed, MAX_BURST):
            self._open_one(index, self._start + due)
        upcoming = self._pacer.next_due
        if upcoming is not None:
            self._loop.call_later(max(0.0, self._start + upcoming - time.monotonic()), self._tick)

    def _open_one(self, index: int, due: float) -> None:
        client = self._client(index, self._openings.pop(index), due)
        self.tally.progress.attempted += 1
        self.tally.lateness_s.append(client.started - due)
        self._begin(client, self._plan.port_of(index))

    def _bring_back(self, lost: WireClient) -> None:
        if self._finishing:
            return
        opening = self._plan.dialect.comeback(lost.index, lost.reply, lost.last)
        client = self._client(lost.index, opening, time.monotonic())
        client.returns, client.reply, client.last = True, lost.reply, lost.last
        client.next_number = lost.next_number
        self._begin(client, self._plan.refuge)

    def _client(self, index: int, opening: Opening, due: float) -> WireClient:
        return WireClient(self, self._ears, self._plan.dialect, index, self._request(opening), opening, due)

    def _begin(self, client: WireClient, port: int) -> None:
        # The only task, and it ends with the TCP connection: asyncio has no other public way to make one.
        self._pending[client] = self._loop.create_task(self._dial(client, port))

    def _request(self, opening: Opening) -> bytes:
        """Nearly always one for all clients: the bytes are shared."""
        if not opening.path:
            return b""
        key = (opening.path, opening.headers)
        if key not in self._requests:
            self._requests[key] = frames.upgrade_request(self._plan.authority, *key)
        return self._requests[key]

    async def _dial(self, client: WireClient, port: int) -> None:
        source = self._plan.source_address(client.index)
        try:
            await self._loop.create_connection(lambda: client, self._plan.host, port, local_addr=source)
        except OSError as error:
            client.fail(failures.of_os_error(error, "tcp"))

    # --- what clients tell ----------------------------------------------------------------------------------------

    def established(self, client: WireClient) -> None:
        del self._pending[client]
        self._open[client] = None
        self._emptied.clear()
        tally, at = self.tally, client.established_at
        if client.returns:
            tally.progress.back += 1
            tally.back_at.append(at)
            tally.recovered += self._plan.dialect.recovered(client.reply)
            return
        tally.progress.connected += 1
        tally.connect_s.append(at - client.due)
        tally.connect_from_start_s.append(at - client.started)
        tally.tcp_s.append(client.tcp_at - client.started)
        tally.upgrade_s.append(client.upgraded_at - client.tcp_at)
        tally.reply_s.append(at - client.upgraded_at)
        tally.last_established_at = max(tally.last_established_at, at)

    def failed(self, client: WireClient, cause: str) -> None:
        self._pending.pop(client, None)
        if client.returns:
            failures.count(self.tally.comeback_failures, cause)
            self._loop.call_later(COMEBACK_WAIT_S, self._bring_back, client)
            return
        self.tally.progress.failed += 1
        failures.count(self.tally.failures, cause)

    def lost(self, client: WireClient, cause: str) -> None:
        self.tally.progress.lost += 1
        self.tally.lost_at.append(time.monotonic())
        failures.count(self.tally.losses, cause)
        if self._plan.refuge:
            self._bring_back(client)

    def gone(self, client: WireClient) -> None:
        self._open.pop(client, None)
        if not self._open:
            self._emptied.set()

    # --- waiting for all of them at once --------------------------------------------------------------------------

    def _sweep(self, due: float) -> None:
        now = time.monotonic()
        if len(self.tally.loop_lag_s) < MAX_LAG_SAMPLES:
            self.tally.loop_lag_s.append(max(0.0, now - due))
        for client in self._overdue(now):
            self._give_up(client, failures.of_timeout(client.waits_for))
        self._sweeping = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep, now + SWEEP_INTERVAL_S)

    def _overdue(self, now: float) -> list[WireClient]:
        overdue = []
        for client in self._pending:
            if now - client.started < self._plan.connect_timeout_s:
                break
            overdue.append(client)
        return overdue

    def _give_up(self, client: WireClient, cause: str) -> None:
        dialling = self._pending[client]
        client.fail(cause)
        dialling.cancel()
