"""The clients of one process: opened on schedule, held, and let go. One pacing timer, one sweep, nothing per client.

What a run costs the generator must not show up as the server's slowness, so it measures itself: how late it started
each connection, and how late its own timers fired.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

import msgspec

from perf import failures, frames
from perf.pacing import Pacer, Schedule
from perf.tally import Tally
from perf.tokens import connection_token
from perf.wire_client import CONNECT_ID, SUBSCRIBE_ID, WireClient

SWEEP_INTERVAL_S = 0.05
"""Resolution of timeouts, and of the samples of the loop's lateness."""

MAX_BURST = 32
"""Connections started in one turn of the loop at most, replies are read in between."""

MAX_LAG_SAMPLES = 100_000
"""Over an hour of sweeps."""

TOKEN_LIFETIME_S = 24 * 3600
GOODBYES_AT_ONCE = 250


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process is to do. `channel` and `user` may hold {i}, the number of the connection in the whole run."""

    host: str
    port: int
    path: str
    schedule: Schedule
    channel: str = ""  # "" subscribes to nothing
    user: str = "perf-{i}"
    token_secret: str = ""  # "" connects without a token
    connect_timeout_s: float = 10.0
    source_spread: int = 1  # local addresses 127.77.x.y to connect from, in turn; 1 lets the kernel choose

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def hello(self, index: int, expires_at: int) -> bytes:
        """The frame with the commands of connection `index`; connect and subscribe together, as centrifuge-js does."""
        number = str(index)
        request = {"name": "perf"}
        if self.token_secret:
            request["token"] = connection_token(self.user.replace("{i}", number), self.token_secret, expires_at)
        commands: list[object] = [{"id": CONNECT_ID, "connect": request}]
        if self.channel:
            commands.append({"id": SUBSCRIBE_ID, "subscribe": {"channel": self.channel.replace("{i}", number)}})
        return frames.frame(frames.TEXT, b"\n".join(msgspec.json.encode(command) for command in commands))

    def source_address(self, index: int) -> tuple[str, int] | None:
        if self.source_spread == 1:
            return None
        place = index % self.source_spread
        return f"127.77.{place // 250}.{place % 250 + 1}", 0


class Generator:
    """See the module. Call `begin`, watch `tally.progress`, then `await finish()`."""

    def __init__(self, plan: Plan) -> None:
        self.tally = Tally()
        self._plan = plan
        self._pacer = Pacer(plan.schedule)
        self._loop = asyncio.get_running_loop()
        self._request = frames.upgrade_request(plan.authority, plan.path)
        expires_at = int(time.time()) + TOKEN_LIFETIME_S
        self._hellos = {index: plan.hello(index, expires_at) for index in plan.schedule.share}
        self._pending: dict[WireClient, asyncio.Task[None]] = {}  # oldest first, so the sweep stops at the first young
        self._open: set[WireClient] = set()  # established ones whose socket is not closed yet
        self._start = 0.0
        self._emptied = asyncio.Event()
        self._sweeping: asyncio.TimerHandle | None = None

    def begin(self, start: float) -> None:
        """The schedule counts from `start`, which lies a little in the future."""
        self._start = start
        self._sweeping = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep, time.monotonic() + SWEEP_INTERVAL_S)
        self._tick()

    async def finish(self, within_s: float = 5.0) -> Tally:
        """Stops opening, says goodbye to those that are held, and waits for the server to close them."""
        self._pacer = Pacer(Schedule(0, 1))
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
        client = WireClient(self, self._request, self._hellos.pop(index), bool(self._plan.channel), due)
        self.tally.progress.attempted += 1
        self.tally.lateness_s.append(client.started - due)
        # The only task, and it ends with the TCP connection: asyncio has no other public way to make one.
        self._pending[client] = self._loop.create_task(self._dial(client, self._plan.source_address(index)))

    async def _dial(self, client: WireClient, source: tuple[str, int] | None) -> None:
        try:
            await self._loop.create_connection(lambda: client, self._plan.host, self._plan.port, local_addr=source)
        except OSError as error:
            client.fail(failures.of_os_error(error, "tcp"))

    # --- what clients tell ----------------------------------------------------------------------------------------

    def established(self, client: WireClient) -> None:
        del self._pending[client]
        self._open.add(client)
        self._emptied.clear()
        tally, at = self.tally, client.established_at
        tally.progress.connected += 1
        tally.connect_s.append(at - client.due)
        tally.connect_from_start_s.append(at - client.started)
        tally.tcp_s.append(client.tcp_at - client.started)
        tally.upgrade_s.append(client.upgraded_at - client.tcp_at)
        tally.reply_s.append(at - client.upgraded_at)
        tally.last_established_at = max(tally.last_established_at, at)

    def failed(self, client: WireClient, cause: str) -> None:
        self._pending.pop(client, None)
        self.tally.progress.failed += 1
        failures.count(self.tally.failures, cause)

    def lost(self, client: WireClient, cause: str) -> None:
        self.tally.progress.lost += 1
        self.tally.lost_at.append(time.monotonic())
        failures.count(self.tally.losses, cause)

    def gone(self, client: WireClient) -> None:
        self.tally.messages += client.messages
        self._open.discard(client)
        if not self._open:
            self._emptied.set()

    # --- waiting for all of them at once --------------------------------------------------------------------------

    def _sweep(self, due: float) -> None:
        now = time.monotonic()
        if len(self.tally.loop_lag_s) < MAX_LAG_SAMPLES:
            self.tally.loop_lag_s.append(max(0.0, now - due))
        for client in self._overdue(now):
            self._give_up(client, failures.of_timeout(client.stage.name.lower()))
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
