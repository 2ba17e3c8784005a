"""Every example of docs/sessions-api.md is answered: by what it promises, or by the reader's own session missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proto.events import Opened, Subscribed
from services.chassis.postgres.pool import Pool
from services.sessions.api.reader_postgres import ReadPool
from tests.sessions.api.serving import Log, all_questions, asking
from tests.support.servers import Postgres

PAGE = (Path(__file__).resolve().parents[3] / "docs/sessions-api.md").read_text()
EXAMPLES = re.findall(r'^\$ curl .*"\$URL(/[^"]*)"$', PAGE, re.MULTILINE)
AT = 1_796_000_000_000


@pytest.mark.integration
async def test_the_examples_are_answered(postgres: Postgres) -> None:
    assert len(EXAMPLES) > 20
    async with Pool(postgres.url, 3) as pool, asking(postgres.url) as http:
        await Log(pool).write(
            Opened(at=AT, connection="c1", user="ann"), Subscribed(at=AT, connection="c1", channel="news")
        )
        for example in EXAMPLES:
            if not example.startswith("/sessions/live"):  # it does not end
                answer = await http.get(example.replace("$SESSION", "c1"))
                assert answer.status_code == 200, (example, answer.text)
        questions = {question.name for question in all_questions(ReadPool(postgres.url, 1))}
    assert set(re.findall(r"nats request rd\.(\w+)", PAGE)) <= questions
