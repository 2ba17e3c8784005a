"""The clients of one process: opened on schedule, held, and disconnected, with everything that happened in a `Tally`.

The generator's own cost must not look like the server's slowness, so it measures itself: how late it started each
connection, and how late its own timers fired.
"""

from __future__ import annotations

import asyncio
import time

from perf.load import failures, frames
from perf.load.client_publisher import ClientPublisher
from perf.load.connections import Connections
from perf.load.delivery_counter import Deliveries, DeliveryCounter
from perf.load.dialects import Opening
from perf.load.pacing import Pacer, Schedule
from perf.load.plan import Plan
from perf.load.tally import Progress, Tally
from perf.load.wire_client import WireClient

MAX_BURST = 32
"""The most connections that are started in one turn of the loop; replies are read in between."""

RECONNECT_WAIT_S = 0.2
"""The time between a client's attempts to reconnect. The first attempt is made at once."""


class Generator:
    """Has one pacing timer and one sweep for all clients, and no timer for a single one.

    Call `begin`, watch `progress`, then `await finish()`. It owns the wire clients, which report their events to it.
    """

    def __init__(self, plan: Plan) -> None:
        self.tally = Tally()
        self._plan = plan
        self._pacer = Pacer(plan.schedule)
        self._loop = asyncio.get_running_loop()
        self._openings = {index: plan.dialect.opening(index) for index in plan.schedule.share}
        self._requests: dict[tuple[str, str], bytes] = {}
        self._counter = DeliveryCounter(plan.sample_every, plan.ordered)
        self._taken = 0  # messages of `take`
        self._connections = Connections(plan, self.tally.loop_lag_s)
        self._publisher: ClientPublisher | None = None
        self._start = 0.0
        self._finishing = False
        self._away: list[WireClient] = []  # lost clients that wait until they are told to reconnect

    @property
    def progress(self) -> Progress:
        self.tally.progress.messages = self._taken + self._counter.deliveries.messages
        return self.tally.progress

    def begin(self, start: float) -> None:
        """The schedule counts from `start`, which lies a little in the future."""
        self._start = start
        self._connections.watch()
        self._tick()

    def take(self) -> Deliveries:
        """What the clients received since the last take."""
        deliveries = self._counter.take()
        self._taken += deliveries.messages
        return deliveries

    def stop_reading(self, below: int) -> None:
        """Clients with smaller numbers read nothing any more."""
        for client in self._connections.open:
            if client.index < below:
                client.stop_reading()

    def come_back(self) -> None:
        """All clients that were lost reconnect now."""
        away, self._away = self._away, []
        for client in away:
            self._reconnect(client)

    def begin_publishing(self, start: float) -> None:
        """The connected clients publish what the plan has for them; its schedule counts from `start`."""
        assert self._plan.client_publishing is not None
        clients = self._connections.open
        self._publisher = ClientPublisher(self._plan.client_publishing, self._plan.dialect, clients, self.tally)
        self._publisher.begin(start)

    async def finish(self, within_s: float = 5.0) -> Tally:
        """Stops opening, disconnects the clients, and waits for the server to close their sockets."""
        self._pacer = Pacer(Schedule(0, 1))
        self._finishing = True
        if self._publisher is not None:
            self._publisher.stop()
        self.tally.unanswered_closes = await self._connections.close(within_s)
        self.tally.progress = self.progress
        self.tally.deliveries = self.take()
        self.tally.cpu_s = time.process_time()
        return self.tally

    # --- opening --------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        elapsed = time.monotonic() - self._start
        for index, due in self._pacer.take(elapsed, MAX_BURST):
            self._open(index, self._start + due)
        upcoming = self._pacer.next_due
        if upcoming is not None:
            self._loop.call_later(max(0.0, self._start + upcoming - time.monotonic()), self._tick)

    def _open(self, index: int, due: float) -> None:
        client = self._client(index, self._openings.pop(index), due)
        self.tally.progress.attempted += 1
        self.tally.lateness_s.append(client.started - due)
        self._connections.dial(client, self._plan.port_of(index))

    def _reconnect(self, lost: WireClient) -> None:
        if self._finishing:
            return
        opening = self._plan.dialect.reconnect_opening(lost.index, lost.reply, lost.last)
        client = self._client(lost.index, opening, time.monotonic())
        client.reconnects, client.reply, client.last = True, lost.reply, lost.last
        client.next_number = lost.next_number
        self._connections.dial(client, self._plan.reconnect_port)

    def _client(self, index: int, opening: Opening, due: float) -> WireClient:
        return WireClient(self, self._counter, self._plan.dialect, index, self._request(opening), opening, due)

    def _request(self, opening: Opening) -> bytes:
        """The HTTP upgrade: nearly always the same for all clients, so its bytes are shared."""
        if not opening.path:
            return b""
        key = (opening.path, opening.headers)
        if key not in self._requests:
            self._requests[key] = frames.upgrade_request(self._plan.authority, *key)
        return self._requests[key]

    # --- the owner of the wire clients ----------------------------------------------------------------------------

    def established(self, client: WireClient) -> None:
        self._connections.established(client)
        tally, at = self.tally, client.established_at
        if client.reconnects:
            tally.progress.reconnected += 1
            tally.reconnected_at.append(at)
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
        self._connections.failed(client)
        if client.reconnects:
            failures.count(self.tally.reconnect_failures, cause)
            self._loop.call_later(RECONNECT_WAIT_S, self._reconnect, client)
            return
        self.tally.progress.failed += 1
        failures.count(self.tally.failures, cause)

    def lost(self, client: WireClient, cause: str) -> None:
        self.tally.progress.lost += 1
        self.tally.lost_at.append(time.monotonic())
        failures.count(self.tally.losses, cause)
        if self._plan.reconnect_when_told:
            self._away.append(client)
        elif self._plan.reconnect_port:
            self._reconnect(client)

    def closed(self, client: WireClient) -> None:
        self._connections.closed(client)
