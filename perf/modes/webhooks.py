"""How fast a webhook delivers: facts are written to the session log, and a receiver on this machine takes the events.

NATS and PostgreSQL are perf's own, with the settings of `make up`. The service folds the same facts into PostgreSQL
meanwhile, as it always does. The time counts from the first event that the receiver gets to the last.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from perf import runner
from perf.errors import Refusal, RunFailed
from perf.load import session_facts
from perf.report import tables
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.postgres import running_postgres
from perf.servers.sessions import OwnSessions, fill_log, running_sessions
from perf.servers.stack import running_stack
from perf.servers.webhook_receiver import WebhookReceiver, running_receiver
from perf.settings import PerfSettings

_BEGINS_WITHIN_S = 20.0
_DELIVERED_WITHIN_S = 120.0
_POLL_S = 0.02
_SECRET = "a-secret-of-perf-alone"
_WEBHOOK = """
[[sessions.webhooks]]
name = "perf"
url = "http://127.0.0.1:{port}/"
secret = "{secret}"
max_events = {max_events}
"""


class WebhookFigures(Figures):
    """`events` came in `requests`, from the first to the last in `seconds`; `facts` were written to the log."""

    facts: int
    events: int
    requests: int
    seconds: float
    events_a_second: int
    events_a_cpu_second: int

    def table(self) -> str:
        return tables.text(
            [
                ("facts written to the log", self.facts),
                ("events delivered", f"{self.events} in {self.requests} requests, {self.seconds} s"),
                ("delivered a second", self.events_a_second),
                ("for each CPU second of the service, which folds them too", self.events_a_cpu_second),
            ]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--facts", type=int, default=100_000, help="facts that are written (%(default)s)")
    parser.add_argument("--max-events", type=int, default=100, help="events in one request (%(default)s)")
    runner.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if not 4_000 <= arguments.facts <= 1_000_000:
        raise Refusal("--facts is 4000 to 1000000")
    if not 1 <= arguments.max_events <= 1_000:
        raise Refusal("--max-events is 1 to 1000")
    return int(await runner.measured(arguments, _DELIVERED_WITHIN_S + 60, measure, 0) is None)


async def measure(arguments: argparse.Namespace, shown: Bar) -> WebhookFigures:
    async with running_stack() as stack, running_postgres() as database, running_receiver() as receiver:
        config = _WEBHOOK.format(port=receiver.port, secret=_SECRET, max_events=arguments.max_events)
        async with running_sessions(stack, database, config) as service:
            await _begun(service)
            shown.phase("delivering")
            watching = asyncio.create_task(_watch(service, receiver, arguments.facts))
            try:
                facts = await fill_log(stack, session_facts.batches(arguments.facts))
                began, cpu_s, ended = await watching
            finally:
                watching.cancel()
            seconds = ended - began
            return WebhookFigures(
                facts=facts,
                events=receiver.events,
                requests=receiver.requests,
                seconds=round(seconds, 3),
                events_a_second=round(receiver.events / seconds),
                events_a_cpu_second=round(receiver.events / max(cpu_s, 1e-9)),
            )


async def _begun(service: OwnSessions) -> None:
    give_up_at = time.monotonic() + _BEGINS_WITHIN_S
    while "webhook perf follows the session log" not in service.log():
        if time.monotonic() > give_up_at:
            raise RunFailed(f"the webhook did not begin: {service.log()[-500:]}")
        await asyncio.sleep(_POLL_S)


async def _watch(service: OwnSessions, receiver: WebhookReceiver, facts: int) -> tuple[float, float, float]:
    """When the first event came, the CPU that the service has used since then, and when all events had come."""
    give_up_at = time.monotonic() + _DELIVERED_WITHIN_S
    began = cpu_s = 0.0
    while receiver.events < facts:  # each fact makes an event; channels that become occupied or vacated a few more
        if receiver.events and not began:
            began, cpu_s = time.monotonic(), service.cpu_s()
        if time.monotonic() > give_up_at:
            raise RunFailed(f"{receiver.events} events came within {_DELIVERED_WITHIN_S:.0f} s")
        await asyncio.sleep(_POLL_S)
    ended = time.monotonic()
    if not began:
        raise RunFailed("all events came at once: use more --facts")
    return began, service.cpu_s() - cpu_s, ended
