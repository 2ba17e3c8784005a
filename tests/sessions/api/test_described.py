"""What the description promises, held against the read API with questions that Schemathesis makes up.

`/sessions/live` is left out: it does not end. Few examples of each: every parameter has tests of its own. That each
call needs the key is tried without Schemathesis, which would send every question three times for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from proto.events import BY_NETWORK, Closed, EdgeStarted, Opened, Refused, Subscribed
from services.chassis.postgres.pool import Pool
from services.sessions.api.reader_postgres import ReadPool
from tests.sessions.api.serving import Log, application
from tests.sessions.running import API_KEY
from tests.support.plain_http import http_client
from tests.support.raw_client import served
from tests.support.servers import Postgres

pytestmark = [pytest.mark.integration, pytest.mark.once, pytest.mark.timeout(300)]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


SAME: Final = ("/users/{user}/sessions", "/sessions/export", "/sessions/counts")
"""Calls that read the filters of `/sessions`, by the same code."""


def shortened(described: dict[str, Any]) -> dict[str, Any]:
    """The description without what does not end, and without parameters that are tried at another call: the filters at
    `/sessions`, `after_position` there and at `/edges`."""
    paths = described["paths"]
    del paths["/sessions/live"]
    filters = {each["name"] for each in paths["/sessions"]["get"]["parameters"]} - {"from", "to", "limit"}
    for path, calls in paths.items():
        left_out = filters if path in SAME else {"after_position"} if path not in ("/sessions", "/edges") else set()
        calls["get"]["parameters"] = [
            each for each in calls["get"]["parameters"] if each["in"] == "path" or each["name"] not in left_out
        ]
    return described


async def needs_the_key(http: httpx.AsyncClient, paths: Iterable[str]) -> None:
    for path in paths:
        for key in ("wrong", ""):
            answer = await http.get(path.format(id="c1", user="u1", channel="news"), headers={"X-API-Key": key})
            assert answer.status_code == 401, path


async def run(*command: str | Path, cwd: Path) -> tuple[int, str]:
    """Its exit code, and all that it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, command),
        cwd=cwd,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")


async def test_every_answer_is_one_of_those_described(
    postgres: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        Pool(postgres.url, 1) as writing,
        ReadPool(postgres.url, 4) as pool,
        served(application(pool)) as port,
        http_client(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        await Log(writing).write(
            EdgeStarted(at=1_764_000_000_000, software="1"),
            *(Opened(at=1_764_000_000_000 + n, connection=f"c{n}", user=f"u{n % 7}") for n in range(40)),
            *(Subscribed(at=1_764_000_001_000, connection=f"c{n}", channel="news") for n in range(20)),
            *(Closed(at=1_764_000_002_000, connection=f"c{n}", code=1006, by=BY_NETWORK) for n in range(0, 40, 3)),
            Refused(at=1_764_000_003_000, action="connect", code=3500),
        )
        described = (await http.get("/openapi.json")).json()
        await needs_the_key(http, described["paths"])
        description = tmp_path / "openapi.json"
        description.write_text(json.dumps(shortened(described)))
        # One worker: two of them need more time, as they wait for each other's turns of the interpreter.
        code, output = await run(
            *("-m", "schemathesis.cli", "run", description, f"--url={http.base_url}", f"--checks={','.join(CHECKS)}"),
            *("--phases=coverage,fuzzing", "--max-examples=3", "--generation-deterministic", "--workers=1"),
            *("--request-timeout=15", "--warnings=off", "--continue-on-failure", "--no-color"),
            f"--header=X-API-Key:{API_KEY}",
            cwd=tmp_path,
        )
    assert code == 0, output[:3000] + output[-6000:]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
