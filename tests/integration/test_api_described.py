"""What `docs/openapi.json` and `docs/server-api.md` promise, held against a running edge."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.edges import API_KEY, connected
from tests.support.plain_http import http_client

pytestmark = [pytest.mark.integration, pytest.mark.once]

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTION = ROOT / "docs" / "openapi.json"
EXAMPLE = ROOT / "docs" / "examples" / "publish.py"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)


async def run(*command: str | Path, cwd: Path, **variables: str) -> tuple[int, str]:
    """Its exit code, and all that it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, command),
        cwd=cwd,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")


@pytest.mark.parametrize(
    ("mode", "phase", "checks"),  # the two modes differ in the status of an error alone, and share the work
    [("body", "fuzzing", CHECKS), ("transport", "coverage", (*CHECKS, "negative_data_rejection"))],
)
async def test_every_answer_is_one_of_those_described(shared_edge, tmp_path, mode, phase, checks):
    headers = [f"--header=X-API-Key:{API_KEY}"]
    headers += [f"--header=X-Centrifugo-Error-Mode:{mode}"] if mode != "body" else []
    rejected = "[checks.negative_data_rejection]\nexpected-statuses = [400, 404, 413]\n"
    (tmp_path / "schemathesis.toml").write_text(rejected)
    code, output = await run(
        *("-m", "schemathesis.cli", "run", DESCRIPTION, f"--url={shared_edge.url}", f"--checks={','.join(checks)}"),
        *(f"--phases={phase}", "--max-examples=20", "--workers=2"),
        *(
            "--generation-deterministic",
            "--no-color",
            "--request-timeout=10",
            "--warnings=off",
            "--continue-on-failure",
            *headers,
        ),
        cwd=tmp_path,
    )
    assert code == 0, output[:3000] + output[-6000:]


async def test_the_description_is_served_to_everybody(shared_edge):
    async with http_client() as http:
        answer = await http.get(f"{shared_edge.url}/api/openapi.json")
    assert answer.status_code == 200 and answer.json() == json.loads(DESCRIPTION.read_text())


async def test_the_example_publishes_in_each_way(shared_nats, shared_pair, tmp_path):
    a, b = shared_pair
    async with connected(b) as reader:
        await reader.subscribe("chat:lobby")
        await reader.subscribe("live:cursor")
        code, output = await run(EXAMPLE, a.url, shared_nats.url, cwd=tmp_path, FAIRLEAD_HTTP_API_KEY=API_KEY)
        assert code == 0, output
        pushes = [(await reader.message())["push"] for _ in range(4)]
        by_http, by_request, straight = (push["pub"] for push in pushes if push["channel"] == "chat:lobby")
        assert by_http["data"] == {"text": "over HTTP"} and by_request["data"] == {"text": "by a NATS request"}
        assert straight["data"] == {"text": "straight to NATS"} and straight["tags"] == {"kind": "greeting"}
        assert output.count(f"{{'offset': {straight['offset']}}}") == 2, "the second is a duplicate"
        assert [push["pub"] for push in pushes if push["channel"] == "live:cursor"] == [{"data": {"x": 3, "y": 4}}]
