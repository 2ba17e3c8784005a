"""Somebody who uses the shopping list of docs/examples in a browser."""

from __future__ import annotations

import functools
import re
from typing import Any

from playwright.async_api import Page

from tests.support.eventually import eventually

PASSWORDS = {"alice": "wonderland", "bob": "builder", "carol": "singer"}


async def until(check: Any, *arguments: str) -> None:
    await eventually(functools.partial(check, *arguments))


class Person:
    """One browser with its own cookies, and the page in it."""

    def __init__(self, page: Page, name: str, site: str) -> None:
        self.page, self.name, self.site = page, name, site
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def log_in(self, list_id: int = 1, password: str = "") -> None:
        await self.page.goto(f"{self.site}/?list={list_id}")
        await self.page.get_by_label("Your name").fill(self.name)
        await self.page.get_by_label("Password").fill(password or PASSWORDS[self.name])
        await self.page.get_by_role("button", name="Log in").click()

    async def is_online(self) -> None:
        assert await self.page.get_by_role("status").text_content() == "online"

    async def add(self, text: str) -> None:
        await self.page.get_by_label("What is missing").fill(text)
        await self.page.get_by_role("button", name="Add").click()

    async def sees(self, *items: str) -> None:
        assert await self.page.locator("#items li").all_text_contents() == list(items)

    async def sees_bought(self, *items: str) -> None:
        assert await self.page.locator("#items .bought").all_text_contents() == list(items)

    async def is_told(self, text: str) -> None:
        assert text in (await self.page.locator("#notice").text_content() or "")

    async def is_with(self, *names: str) -> None:
        assert await self.page.locator("#people").text_content() == ", ".join(names)

    async def sees_who_left(self, name: str) -> None:
        assert re.fullmatch(rf"{name} left at \d\d:\d\d", await self.page.locator("#gone").text_content() or "")
