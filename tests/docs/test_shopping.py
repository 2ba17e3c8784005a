"""The shopping list on FastAPI and on Django, in a browser: the framework's own cookie, permissions, transactions."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from playwright.async_api import Browser

from deploy.processes.ports import free_port
from deploy.processes.process import Process, Program
from deploy.processes.readiness import http_status
from fairlead import SIGNATURE_HEADER, sign
from tests.docs.conftest import SDK
from tests.docs.shopper import PASSWORDS, Person, until
from tests.stack.checkout import ROOT
from tests.support.edges import API_KEY, FAST_GOODBYE
from tests.support.plain_http import http_client
from tests.support.processes import Services
from tests.support.servers import NatsServer, Postgres

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

EXAMPLE = ROOT / "docs/examples/shopping"
OUTBOX_SQL = ROOT / "services/sessions/outbox/outbox.sql"
HOOK_SECRET = "the-example-s-own-secret"
MOST_ITEMS = 5


class Application:
    """The application as its developer starts it, with an edge, and the relay of its outbox."""

    def __init__(self, kind: str, folder: Path, fairlead: str, postgres: Postgres) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._sessions = {"fastapi": "logins", "django": "django_session"}[kind]
        self._folder = folder / "shopping"
        shutil.copytree(EXAMPLE, self._folder, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
        sdk = self._folder / "page" / SDK  # as npm installs it
        sdk.parent.mkdir(parents=True)
        shutil.copy(ROOT / "tests/js" / SDK, sdk)
        self._environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),  # as `pip install ./fairlead` does
            "FAIRLEAD_URL": fairlead,
            "FAIRLEAD_HTTP_API_KEY": API_KEY,
            "DATABASE_URL": postgres.url,
            "SESSION_SECRET": "a-secret-of-the-tests",
            "ASK_AGAIN_S": "1",
            "OUTBOX_SQL": str(OUTBOX_SQL),
        }
        commands = {
            "fastapi": [["-m", "uvicorn", "fastapi_app:app", "--port", str(self.port)]],
            "django": [
                ["manage.py", "migrate"],
                ["manage.py", "demo"],
                ["manage.py", "runserver", "--noreload", f"127.0.0.1:{self.port}"],
            ],
        }
        *self._first, self._last = [[sys.executable, *command] for command in commands[kind]]
        self.process = self._program(self._last)

    def _program(self, command: list[str]) -> Process:
        name = "-".join(command[1:3]).replace("/", "")
        log = self._folder / f"{name}.log"
        return Process(Program(name, command, {}, folder=self._folder), log, environ=self._environ)

    async def start(self) -> None:
        for command in self._first:
            done = await asyncio.create_subprocess_exec(*command, cwd=self._folder, env=self._environ)
            assert await done.wait() == 0
        self.process.start()
        await asyncio.to_thread(self.process.wait_until_ready, lambda: http_status(self.port, path="/me") == 200, 30)

    async def end_all_sessions(self) -> None:
        """As an administrator, or its expiry, would: no view of the application runs."""
        connection = await asyncpg.connect(self._environ["DATABASE_URL"])
        try:
            await connection.execute(f"DELETE FROM {self._sessions}")
        finally:
            await connection.close()

    async def ask(self, event: str, question: dict[str, Any]) -> Any:
        """Its answer to a question that is signed as an edge signs."""
        body = json.dumps(question).encode()
        headers = {SIGNATURE_HEADER: sign(HOOK_SECRET, body), "Content-Type": "application/json"}
        async with http_client() as http:
            answer = await http.post(f"{self.url}/realtime/{event}", content=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


@pytest.fixture(params=["fastapi", "django"])
async def application(
    request: pytest.FixtureRequest, tmp_path: Path, services: Services, nats_server: NatsServer, postgres: Postgres
) -> AsyncIterator[Application]:
    edge_port = free_port()
    made = Application(request.param, tmp_path, f"http://127.0.0.1:{edge_port}", postgres)
    toml = (EXAMPLE / "fairlead.toml").read_text().replace("http://127.0.0.1:8080", made.url)
    common = {"FAIRLEAD_NATS_URL": nats_server.url, "FAIRLEAD_HTTP_API_KEY": API_KEY, **FAST_GOODBYE}
    edge = services.start("edge", {**common, "FAIRLEAD_EDGE_PORT": str(edge_port)}, toml)
    relay = {"FAIRLEAD_POSTGRES_URL": postgres.empty_database(), "FAIRLEAD_OUTBOX_URL": postgres.url}
    try:
        await made.start()
        await edge.ready()
        await services.start("sessions", {**common, **relay}, toml).ready()
        yield made
        assert "Traceback" not in made.process.log_text()
    finally:
        sys.stdout.write(made.process.log_text())
        made.process.kill()


class People:
    """Opens browsers, each with its own cookies."""

    def __init__(self, browser: Browser, site: str) -> None:
        self._browser, self._site = browser, site
        self.found: list[Person] = []

    async def make(self, name: str) -> Person:
        context = await self._browser.new_context(
            viewport={"width": 640, "height": 480}, device_scale_factor=2, color_scheme="light", locale="en-GB"
        )
        self.found.append(Person(await context.new_page(), name, self._site))
        return self.found[-1]


@pytest.fixture
async def people(browser: Browser, application: Application) -> AsyncIterator[People]:
    made = People(browser, application.url)
    yield made
    assert [complaint for person in made.found for complaint in person.complaints] == []


async def test_people_shop_together(application, people, tmp_path):
    alice, bob, carol = [await people.make(name) for name in PASSWORDS]
    for person in (alice, bob):
        await person.log_in()
        await until(person.is_online)
    await until(alice.is_with, "Alice", "Bob")  # presence

    await alice.add("Tea <b>& biscuits</b>")  # the outbox, in the view's transaction
    for person in (alice, bob):
        await until(person.sees, "Tea <b>& biscuits</b>")
    await bob.page.get_by_role("button", name="Tea").click()  # an RPC to a view
    for person in (alice, bob):
        await until(person.sees_bought, "Tea <b>& biscuits</b>")
    await alice.page.get_by_role("button", name="Nudge").click()  # a view that publishes
    await until(bob.is_told, "Alice asks: who is going?")

    for number in range(1, MOST_ITEMS):
        await bob.add(f"Candle {number}")
        await until(alice.sees, "Tea <b>& biscuits</b>", *(f"Candle {n}" for n in range(1, number + 1)))
    await alice.add("One too many")  # rolled back: nobody hears of it
    await until(alice.is_told, "the list is full")
    await bob.page.get_by_role("button", name="Nudge").click()
    await until(alice.is_told, "Bob asks: who is going?")  # later than the one too many would have come
    for person in (alice, bob):
        await person.sees("Tea <b>& biscuits</b>", *(f"Candle {n}" for n in range(1, MOST_ITEMS)))
        await person.page.screenshot(path=tmp_path / f"{person.name}.png")

    await carol.log_in()  # no member of the list, or without the permission
    await until(carol.is_told, "You may not see this list: permission denied")
    await carol.page.screenshot(path=tmp_path / "carol.png")
    await alice.is_with("Alice", "Bob")

    await bob.page.get_by_role("button", name="Log out").click()
    await until(alice.is_with, "Alice")
    await bob.page.get_by_label("Your name").wait_for()
    await until(alice.sees_who_left, "Bob")  # a webhook, and the outbox in the transaction of its view
    await alice.page.screenshot(path=tmp_path / "left.png")
    await alice.page.reload()
    await until(alice.sees_who_left, "Bob")


async def test_who_is_not_logged_in_gets_nothing(application, people, tmp_path):
    alice = await people.make("alice")
    await alice.log_in(password="guessed")
    await alice.page.get_by_role("alert").filter(has_text="wrong name or password").wait_for()
    await alice.page.screenshot(path=tmp_path / "refused.png")
    async with http_client() as http:
        assert (await http.get(f"{application.url}/lists/1")).status_code == 403
        forged = await http.post(f"{application.url}/realtime/subscribe", json={"user": "alice", "channel": "lists:1"})
        assert forged.status_code == 401, "only Fairlead may ask"
        forged = await http.post(f"{application.url}/lists/1/items", json={"text": "x"})
        assert forged.status_code == 403
    await what_clients_make_up_is_refused(application)


async def what_clients_make_up_is_refused(application: Application) -> None:
    asked = {"client": "c", "transport": "websocket", "protocol": "json", "encoding": "json", "user": "1"}
    for channel in ("lists:", "lists:0x1", "lists:01", "lists:\u0663", "lists:" + "9" * 30, "other:1", "lists:1\n"):
        answer = await application.ask("subscribe", asked | {"channel": channel})
        assert answer["error"]["code"] == 103, channel
    left = {
        "type": "unsubscribed",
        "id": "e-1",
        "at": 1796000000000,
        "connection": "c",
        "channel": "lists:1",
        "code": 0,
    }
    other = {"type": "heard of in a later version", "id": "e-2", "at": 1796000000000}
    for user in ({"user": "1"}, {"user": "987654321"}, {}):
        await application.ask("events", {"version": 1, "events": [left | user, left | user, other]})
    made_up: list[Any] = [None, [], "1", {}, {"item": "x"}, {"item": None}, {"item": {}}]
    for data in made_up:
        answer = await application.ask("rpc", asked | {"method": "buy", "data": data})
        assert answer["error"]["code"] == 400, data
    assert (await application.ask("rpc", asked | {"method": "buy", "data": {"item": 7}}))["error"]["code"] == 404
    assert (await application.ask("rpc", asked))["error"]["code"] == 104


async def test_a_connection_ends_with_its_session(application, people, tmp_path):
    here, there, bob = [await people.make(name) for name in ("alice", "alice", "bob")]
    for person in (here, there, bob):
        await person.log_in()
        await until(person.is_online)
    await until(bob.is_with, "Alice", "Bob")

    await here.page.get_by_role("button", name="Log out").click()
    await here.page.get_by_label("Your name").wait_for()
    await bob.add("Tea")
    await until(there.sees, "Tea")  # alice's other browser is still logged in
    await until(there.is_online)
    await bob.is_with("Alice", "Bob")

    await application.end_all_sessions()
    for person in (there, bob):
        await person.page.get_by_label("Your name").wait_for()
    await bob.page.screenshot(path=tmp_path / "ended.png")
