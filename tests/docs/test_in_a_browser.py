"""The pages of the README and of the chat in a real browser: people talk through two edges, one edge is killed, and
nothing is lost.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from playwright.async_api import Browser, Page

from deploy.processes.ports import free_port
from tests.docs.conftest import SDK, Stack
from tests.docs.readme import block
from tests.stack.checkout import ROOT
from tests.support.edges import token
from tests.support.eventually import eventually, wait_until
from tests.support.plain_http import http_client

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.timeout(180)]

NASTY = "<img src=x onerror=\"document.title='hacked'\"> & <b>bold</b>"


@pytest.fixture(scope="module")
def site(stack: Stack) -> Iterator[str]:
    """The address of the page, as serve.py serves it."""
    port = free_port()
    command = [sys.executable, "docs/examples/chat/serve.py", "--port", str(port), "--address", stack.address]
    with subprocess.Popen(command, cwd=stack.root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = f"http://127.0.0.1:{port}"
            assert url in process.stdout.readline()
            wait_until(lambda: process.poll() is None and _answers(url), "the page is served")
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


class Person:
    """One window of the page, and the text in it."""

    def __init__(self, page: Page, name: str, room: str) -> None:
        self.page, self.name, self.room = page, name, room
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def enter(self, site: str) -> None:
        await self.page.goto(site)
        await self.page.get_by_label("Your name").fill(self.name)
        await self.page.get_by_label("Room").fill(self.room)
        await self.page.get_by_role("button", name="Enter").click()
        await eventually(self.is_online)

    async def is_online(self) -> bool:
        return await self.page.get_by_role("status").text_content() == "online"

    async def come_back(self) -> None:
        """Goes offline and online again."""
        for verb in ("Go offline", "Go online"):
            await self.page.get_by_role("button", name=verb).click()
        await eventually(self.is_online)

    async def say(self, text: str) -> None:
        """Sends without waiting for anything."""
        await self.page.get_by_label("Message", exact=True).fill(text)
        await self.page.get_by_role("button", name="Send").click()

    async def heard(self) -> list[str]:
        """All messages on the page that are stored, in order; own ones too."""
        return await self.page.locator(".message:not(.pending) .text").all_text_contents()

    async def has_heard(self, expected: list[str]) -> None:
        assert await self.heard() == expected

    async def events(self) -> list[str]:
        return await self.page.locator(".event").all_text_contents()

    async def people(self) -> list[str]:
        return await self.page.locator("#people .name").all_text_contents()

    async def sees(self, *people: str) -> None:
        assert await self.people() == list(people)


@pytest.fixture
async def people(browser: Browser, site: str, x: str) -> AsyncIterator[dict[str, Person]]:
    """Alice and Bob in a room of their own."""
    found: dict[str, Person] = {}
    for name in ("alice", "bob"):
        context = await browser.new_context(
            viewport={"width": 1000, "height": 640}, device_scale_factor=2, color_scheme="light", locale="en-GB"
        )
        found[name] = Person(await context.new_page(), name, x)
        await found[name].enter(site)
    yield found
    assert [complaint for person in found.values() for complaint in person.complaints] == []


async def _edges_of(stack: Stack, people: dict[str, Person]) -> dict[str, str]:
    """The edge of each person's open connection, from the sessions service."""
    sessions = (await stack.fairlead.read("/sessions?state=open"))["sessions"]
    found = {session["user"]: session["edge"] for session in sessions if session["user"] in people}
    assert found.keys() == people.keys()
    return found


async def _onto_two_edges(stack: Stack, people: dict[str, Person]) -> dict[str, str]:
    """Lets Bob reconnect until Traefik gives him another edge than Alice's."""
    for _ in range(10):
        edges = await eventually(functools.partial(_edges_of, stack, people))
        if edges["alice"] != edges["bob"]:
            return edges
        await people["bob"].come_back()
    raise AssertionError("Traefik sends everybody to one edge")


async def test_two_people_chat_through_two_edges_while_one_is_killed(stack, people, tmp_path):
    alice, bob = people["alice"], people["bob"]
    edges = await _onto_two_edges(stack, people)
    said: list[str] = []
    for person, text in ((alice, "Hello Bob"), (bob, "Hello Alice"), (alice, NASTY), (bob, "Well escaped")):
        await person.say(text)
        said.append(text)
        for each in (alice, bob):
            await eventually(functools.partial(each.has_heard, said))
    await eventually(functools.partial(alice.sees, "alice", "bob"))
    await eventually(functools.partial(bob.sees, "bob", "alice"))

    victim = stack.checkout.process(edges["bob"])
    victim.suspend()
    for number in range(3):  # the edge has Bob's message and dies with it
        await alice.say(f"Alice {number}")
        await bob.say(f"Bob {number}")
    await eventually(functools.partial(alice.has_heard, [*said, "Alice 0", "Alice 1", "Alice 2"]))
    victim.kill()
    said += ["Alice 0", "Alice 1", "Alice 2", "Bob 0", "Bob 1", "Bob 2"]
    for each in (alice, bob):
        await eventually(functools.partial(each.has_heard, said), within_s=20)
    assert "3 messages were kept for you" in (await bob.events())[-1]
    await eventually(functools.partial(alice.sees, "alice", "bob"))
    for each in (alice, bob):
        assert await each.page.locator(".event.lost, .message.failed").count() == 0
        assert await each.page.title() == f"{each.room} - Fairlead chat"
        assert await each.page.locator(".message img").count() == 0
        await each.page.screenshot(path=tmp_path / f"{each.name}.png")
    await eventually(functools.partial(_is_back, stack, edges["bob"], victim.pid), within_s=30)


def _is_back(stack: Stack, edge: str, old_pid: int) -> bool:
    return stack.checkout.process(edge).pid != old_pid


async def test_who_was_away_is_given_what_it_missed_and_who_comes_late_reads_the_history(people, site, browser):
    alice, bob = people["alice"], people["bob"]
    await bob.page.get_by_role("button", name="Go offline").click()
    await eventually(functools.partial(alice.sees, "alice"))
    for text in ("One", "Two", "Three"):
        await alice.say(text)
    await eventually(functools.partial(alice.has_heard, ["One", "Two", "Three"]))
    await bob.page.get_by_role("button", name="Go online").click()
    await eventually(functools.partial(bob.has_heard, ["One", "Two", "Three"]))
    assert (await bob.events())[-1].endswith("3 messages were kept for you")

    carol = Person(await browser.new_page(), "carol", alice.room)
    await carol.enter(site)
    await eventually(functools.partial(carol.has_heard, ["One", "Two", "Three"]))
    await eventually(functools.partial(carol.sees, "carol", "alice", "bob"))
    await carol.page.close()
    await eventually(functools.partial(alice.sees, "alice", "bob"))
    assert (await alice.events())[-4:] == ["bob left", "bob joined", "carol joined", "carol left"]


async def test_a_name_is_needed_and_only_the_page_itself_gets_tokens(site):
    async with http_client() as http:
        assert (await http.get(f"{site}/token")).status_code == 400
        assert (await http.get(f"{site}/token?user={'x' * 33}")).status_code == 400
        assert (await http.get(f"{site}/token?user=eve", headers={"Host": "evil.example"})).status_code == 400
        good = await http.get(f"{site}/token?user=alice")
        assert good.status_code == 200 and good.json()["token"].count(".") == 2
        assert "access-control-allow-origin" not in good.headers


async def test_the_page_of_the_readme_shows_what_its_user_writes(stack: Stack, tmp_path: Path, browser: Browser):
    (tmp_path / "index.html").write_text(block("html", stack.address))
    sdk = tmp_path / SDK
    sdk.parent.mkdir(parents=True)
    shutil.copy(ROOT / "tests/js" / SDK, sdk)
    page = await browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    with served(tmp_path) as site:
        await page.goto(f"{site}/#{token('bob', stack.fairlead.token_key)}")
        await eventually(functools.partial(shows, page, "connected"))
        await page.get_by_placeholder("Say something").fill("hello from the page")
        await page.get_by_role("button", name="Send").click()
        await eventually(functools.partial(shows, page, "bob: hello from the page"))
        await stack.fairlead.call("publish", channel="chat:lobby", data={"number": 7})
        await eventually(functools.partial(shows, page, 'a backend: {"number":7}'))
        await page.evaluate("lobby.unsubscribe()")
        await page.get_by_placeholder("Say something").fill("nobody takes this")
        await page.get_by_role("button", name="Send").click()
        await eventually(functools.partial(shows_beginning, page, "not sent: "))
    assert complaints == []


async def shows(page: Page, text: str) -> bool:
    return text in await page.locator("li").all_text_contents()


async def shows_beginning(page: Page, text: str) -> bool:
    return any(line.startswith(text) for line in await page.locator("li").all_text_contents())


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, as `python -m http.server` serves it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None: ...
