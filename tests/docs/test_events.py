"""docs/events.md: its events and facts are those that are sent, and its two programs do what the page says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from deploy.processes.ports import free_port
from proto.events import Closed, EventBatch, Opened, SessionEvent, Subscribed
from services.chassis.process.settings import Duration
from services.sessions.settings import from_environ
from services.sessions.webhooks.payload import WebhookEvent
from services.sessions.webhooks.sender_http import WebhookSender
from services.sessions.webhooks.settings import WebhookSettings
from services.sessions.webhooks.verdict import Meaning
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import start
from tests.sessions.webhooks.receiver import SECRET, toml
from tests.support.eventually import eventually
from tests.support.nats_users import SHIPPED, restricted_nats, signed_in
from tests.support.processes import Services
from tests.support.servers import NatsServer, Postgres

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs/events.md").read_text()
BLOCKS: Final = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("number", "kinds"), [(1, WebhookEvent), (3, SessionEvent)], ids=["events", "facts"])
def test_every_type_is_shown_as_it_is_sent(number: int, kinds: object):
    shown = set()
    for line in BLOCKS[number].splitlines():
        decoded = msgspec.json.decode(line, type=kinds)
        assert msgspec.to_builtins(decoded) == msgspec.json.decode(line), "it has a field that is not sent"
        shown.add(type(decoded))
    assert shown == set(get_args(kinds))


@pytest.mark.parametrize(
    ("section", "kinds"), [("### The events", WebhookEvent), ("### The facts", SessionEvent)], ids=["events", "facts"]
)
def test_every_field_has_its_row(section: str, kinds: object):
    rows = re.findall(r"^\| (`.*?) \|", PAGE.partition(section + "\n")[2].partition("\n#")[0], re.MULTILINE)
    told = set(re.findall(r"`(\w+)`", "".join(rows)))
    sent = {field.encode_name for kind in get_args(kinds) for field in msgspec.structs.fields(kind)}
    assert sent - told == set()


def test_the_batch_is_one():
    batch = msgspec.json.decode(BLOCKS[2], type=EventBatch)
    assert msgspec.to_builtins(batch) == msgspec.json.decode(BLOCKS[2])


def test_the_configuration_is_taken(tmp_path: Path):
    (block,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "fairlead.toml").write_text(block.replace("/run/secrets/webhook", str(tmp_path / "secret")))
    environ = {"FAIRLEAD_CONFIG": str(tmp_path / "fairlead.toml"), "FAIRLEAD_POSTGRES_URL": "postgresql://x"}
    assert from_environ(environ).sessions.webhooks[0].name == "app"


def test_the_ten_lines_are_those_of_the_program():
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    program = (ROOT / "docs/examples/session_events.py").read_text()
    assert "".join(f"    {line}\n" for line in block.splitlines()) in program
    assert len(block.splitlines()) <= 10


@contextmanager
def running(out: Path, example: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """An example, which adds its lines to the file `out`."""
    command = [sys.executable, str(ROOT / example), *arguments]
    with out.open("ab") as lines:
        process = subprocess.Popen(
            command, stdout=lines, env={**os.environ, "WEBHOOK_SECRET": f"the-next-one-of-the-tests {SECRET}"}
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def now_ms() -> int:
    return int(time.time() * 1000)


@pytest.mark.integration
@pytest.mark.once
async def test_a_consumer_in_ten_lines_follows_the_log_and_goes_on_after_it_was_killed(
    nats_server: NatsServer, tmp_path: Path
):
    out = tmp_path / "printed"
    async with EdgeDouble(nats_server.url, "i1") as edge:
        await edge.write(Opened(at=now_ms(), connection="c1"), Subscribed(at=now_ms(), connection="c1", channel="x"))
        with running(out, "docs/examples/session_events.py", nats_server.url):
            await eventually(lambda: out.read_text() == "edge-1 opened c1\nedge-1 subscribed c1\n", within_s=20)
            await edge.settled("example")
        await edge.write(Closed(at=now_ms(), connection="c1", code=1000))
        with running(out, "docs/examples/session_events.py", nats_server.url):
            await eventually(lambda: out.read_text().splitlines()[2:] == ["edge-1 closed c1"], within_s=20)


@pytest.mark.integration
@pytest.mark.once
async def test_a_backend_with_the_permissions_of_the_page_reads_the_log_and_nothing_more(tmp_path: Path):
    for name in ("$JS.API.CONSUMER.MSG.NEXT.SESSIONS.billing", "$JS.ACK.SESSIONS.billing.>"):
        assert f"`{name}`" in PAGE
    before = 'allow: ["api.*", "plan.*", "rd.*"'
    more = f'{before}, "$JS.API.CONSUMER.MSG.NEXT.SESSIONS.billing", "$JS.ACK.SESSIONS.billing.>"]'
    assert f"{before}]" in SHIPPED.read_text()
    server = restricted_nats(tmp_path / "nats", SHIPPED.read_text().replace(f"{before}]", more))
    try:
        async with signed_in(server, "operator") as operator, signed_in(server, "backend") as backend:
            log = operator.connection.jetstream()
            await log.add_stream(name="SESSIONS", subjects=["ev.session.>"])
            await log.add_consumer(
                "SESSIONS", ConsumerConfig("billing", ack_policy=AckPolicy.EXPLICIT, max_ack_pending=1)
            )
            for number in range(3):
                await log.publish("ev.session.i1", b"%d" % number)
            mine = await backend.connection.jetstream().pull_subscribe_bind("billing", "SESSIONS")
            read = []
            for _ in range(3):
                (message,) = await mine.fetch(1)
                read.append(message.data)
                await message.ack_sync()
            assert (read, backend.refused) == ([b"0", b"1", b"2"], [])
            assert await backend.is_refused("publish", "ev.session.i1")
    finally:
        server.close()


async def test_the_receiver_takes_a_replay_beside_a_connection_that_is_open(tmp_path: Path):
    port = free_port()
    settings = WebhookSettings("app", f"http://127.0.0.1:{port}/", SECRET, timeout=Duration(5.0))
    with running(tmp_path / "printed", "docs/examples/webhook_receiver.py", str(port)):
        await eventually(lambda: _listens(port), within_s=20)
        with socket.create_connection(("127.0.0.1", port)):
            sender = WebhookSender(settings)
            verdict = await sender.send(b'{"version":1,"events":[]}')
            await sender.close()
    assert verdict.meaning is Meaning.TAKEN, verdict


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.integration
@pytest.mark.once
async def test_the_receiver_prints_each_event_once(
    services: Services, nats_server: NatsServer, postgres: Postgres, tmp_path: Path
):
    out, port = tmp_path / "printed", free_port()
    service = await start(services, nats_server, postgres, toml=toml(f"http://127.0.0.1:{port}/")).ready()
    await eventually(lambda: "webhook app follows the session log" in service.log())
    async with EdgeDouble(nats_server.url, "i1") as edge:
        with running(out, "docs/examples/webhook_receiver.py", str(port)):
            await edge.write(
                Opened(at=now_ms(), connection="c1", user="ann"),
                Subscribed(at=now_ms(), connection="c1", channel="chat:lobby"),
                Closed(at=now_ms(), connection="c1", code=1000),
            )
            await eventually(lambda: out.read_text().endswith("disconnected ann \n"), within_s=20)
    assert [line.split()[0] for line in out.read_text().splitlines()] == [
        "connected",
        "occupied",
        "subscribed",
        "unsubscribed",
        "vacated",
        "disconnected",
    ]
