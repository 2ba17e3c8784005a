"""The webhooks of a process: each works by itself, and a reload ends and begins those that it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from services.chassis.postgres.pool import Pool
from services.chassis.process.tasks import end, vital
from services.sessions.instruments import Instruments
from services.sessions.log_nats import SessionLog
from services.sessions.webhooks.settings import WebhookSettings
from services.sessions.webhooks.webhook import Webhook


class _Running(NamedTuple):
    settings: WebhookSettings
    webhook: Webhook
    task: asyncio.Task[None]


class Webhooks:
    """All webhooks of one process. The arguments are those of each `Webhook`; `pool` has a connection for each."""

    def __init__(
        self,
        session_log: SessionLog,
        pool: Pool,
        prepare: Callable[[], Awaitable[None]],
        instruments: Instruments,
        log_kept_s: float,
    ) -> None:
        self._log = session_log
        self._pool = pool
        self._prepare = prepare
        self._instruments = instruments
        self._log_kept_s = log_kept_s
        self._running: dict[str, _Running] = {}

    @property
    def problem(self) -> str | None:
        """Why one of them cannot work now, None if all can."""
        return next((found for one in self._running.values() if (found := one.webhook.problem) is not None), None)

    def notify(self) -> None:
        """Wakes them: something may have been written to the log."""
        for one in self._running.values():
            one.webhook.notify()

    async def adopt(self, wanted: Sequence[WebhookSettings]) -> None:
        """Runs these webhooks from now on. Unchanged ones go on; a request of a webhook that changes is cut off, and
        its events are sent again with the new settings, under the same ids."""
        by_name = {one.name: one for one in wanted}
        gone = [name for name, one in self._running.items() if one.settings != by_name.get(name)]
        await end([self._running.pop(name).task for name in gone])
        for settings in wanted:
            if settings.name not in self._running:
                webhook = Webhook(settings, self._log, self._pool, self._prepare, self._instruments, self._log_kept_s)
                self._running[settings.name] = _Running(settings, webhook, vital(webhook.run()))

    async def stop(self) -> None:
        """Ends all of them."""
        await self.adopt(())
