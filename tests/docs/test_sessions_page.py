"""The commands of docs/sessions.md, run on the events that the page describes: they print what the page shows."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path
from typing import Final

import pytest

from tests.sessions.commands.asked import at_moment, run
from tests.sessions.day_of_a_deploy import NOW, tell
from tests.support.servers import Postgres

pytestmark = [pytest.mark.integration, pytest.mark.once]

PAGE: Final = Path(__file__).resolve().parents[2] / "docs/sessions.md"
PROMPT: Final = "$ python -m services.sessions "
QUESTIONS: Final = 9


def shown(page: str) -> list[tuple[str, str]]:
    """Each command of the page, and what the page shows below it."""
    blocks = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [
        (command, output)
        for block in blocks
        for command, _, output in (one.partition("\n") for one in block.split(PROMPT)[1:])
    ]


def test_every_command_prints_what_the_page_shows(postgres: Postgres, capsys: pytest.CaptureFixture[str]):
    asyncio.run(tell(postgres.url))
    told = shown(PAGE.read_text())
    assert len(told) >= QUESTIONS
    with at_moment(NOW):
        for command, output in told:
            assert run(postgres.url, *shlex.split(command)) == 0
            assert capsys.readouterr().out == output, command


def test_each_of_the_nine_questions_has_a_command():
    page = PAGE.read_text()
    asked = re.findall(r"^### (\d)\. ", page, re.MULTILINE)
    assert asked == [str(number) for number in range(1, QUESTIONS + 1)]
    for section in re.split(r"^### \d\. ", page, flags=re.MULTILINE)[1:]:
        assert PROMPT in section
