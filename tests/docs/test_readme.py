"""The first message in one's own app: the README's code works as it stands, except for the address."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tests.docs.conftest import SDK, Stack
from tests.support.edges import token
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "ws://127.0.0.1:8000/connection/websocket"
ANSWER_S = 30.0

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]


def block(language: str, address: str) -> str:
    """The README's one block in this language, for a stack at another address."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found.count(ADDRESS) == 1
    return str(found.replace(ADDRESS, address))


async def test_the_python_app_prints_what_it_publishes_and_what_a_backend_does(stack, tmp_path):
    app = tmp_path / "app.py"
    app.write_text(block("python", stack.address))
    environ = {**os.environ, "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": stack.fairlead.token_key}
    process = await asyncio.create_subprocess_exec(sys.executable, app, env=environ, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(ANSWER_S):
            assert re.fullmatch(rb"\d+ alice {'text': 'hello'}\n", await process.stdout.readline())
            await stack.fairlead.call("publish", channel="chat:lobby", data={"text": "hi"})
            assert re.fullmatch(rb"\d+ a backend {'text': 'hi'}\n", await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


async def test_the_python_app_prints_why_it_was_turned_away(stack, tmp_path):
    app = tmp_path / "app.py"
    app.write_text(block("python", stack.address))
    environ = {**os.environ, "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": "another secret than that of the edges"}
    process = await asyncio.create_subprocess_exec(sys.executable, app, env=environ, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(ANSWER_S):
            assert await process.stdout.readline() == b"disconnected: 3500 invalid token\n"
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@pytest.mark.browser
async def test_the_page_shows_what_its_user_writes(stack: Stack, tmp_path: Path, browser: Browser):
    (tmp_path / "index.html").write_text(block("html", stack.address))
    sdk = tmp_path / SDK
    sdk.parent.mkdir(parents=True)
    shutil.copy(ROOT / "tests/js" / SDK, sdk)
    page = await browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    with served(tmp_path) as site:
        await page.goto(f"{site}/#{token('bob', stack.fairlead.token_key)}")
        await eventually(partial(shows, page, "connected"))
        await page.get_by_placeholder("Say something").fill("hello from the page")
        await page.get_by_role("button", name="Send").click()
        await eventually(partial(shows, page, "bob: hello from the page"))
        await stack.fairlead.call("publish", channel="chat:lobby", data={"number": 7})
        await eventually(partial(shows, page, 'a backend: {"number":7}'))
        await page.evaluate("lobby.unsubscribe()")
        await page.get_by_placeholder("Say something").fill("nobody takes this")
        await page.get_by_role("button", name="Send").click()
        await eventually(partial(shows_beginning, page, "not sent: "))
    assert complaints == []


async def shows(page: Page, text: str) -> bool:
    return text in await page.locator("li").all_text_contents()


async def shows_beginning(page: Page, text: str) -> bool:
    return any(line.startswith(text) for line in await page.locator("li").all_text_contents())


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, as `python -m http.server` serves it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None: ...
