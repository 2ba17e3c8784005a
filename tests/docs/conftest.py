from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.stack.checkout import ROOT, Checkout
from tests.stack.fairlead import Fairlead

if TYPE_CHECKING:
    from playwright.async_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)

SDK = "node_modules/centrifuge/dist/centrifuge.js"


@dataclass(frozen=True)
class Stack:
    """What a reader of the examples has: a checkout with the local stack running."""

    checkout: Checkout
    fairlead: Fairlead

    @property
    def root(self) -> Path:
        return self.checkout.root

    @property
    def address(self) -> str:
        return self.fairlead.websocket_url()


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The local stack with two edges. A test that kills one of them waits until supervisord has restarted it."""
    checkout = Checkout(tmp_path_factory.mktemp("stack") / "checkout", edges=2)
    examples = checkout.root / "docs/examples"
    shutil.copytree(ROOT / "docs/examples", examples, ignore=shutil.ignore_patterns("node_modules"))
    sdk = examples / "chat" / SDK  # as npm installs it
    sdk.parent.mkdir(parents=True)
    shutil.copy(ROOT / "tests/js" / SDK, sdk)
    try:
        yield Stack(checkout, checkout.up())
    finally:
        checkout.make("down")


@pytest.fixture
def x() -> str:
    """A name that no other test uses."""
    return uuid.uuid4().hex[:8]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    from playwright.async_api import async_playwright  # here, as most tests of this folder do without

    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    assert program, "no browser: install Debian's chromium"
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=program, args=QUIET.split())
        yield started
        await started.close()
