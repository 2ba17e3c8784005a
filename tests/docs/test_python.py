"""docs/python.md is right: its code and its commands are run, except what they would install."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from deploy.local import secrets_file
from deploy.processes.ports import free_port
from deploy.processes.readiness import http_status
from tests.docs.conftest import SDK
from tests.docs.curl import provide
from tests.stack.checkout import ROOT, Checkout
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.servers import Postgres

if TYPE_CHECKING:
    from playwright.async_api import Browser

PAGE = (ROOT / "docs/python.md").read_text()
BIN = Path(sys.executable).parent
ANSWER_S = 30.0


def section(heading: str) -> str:
    return PAGE.partition(f"{heading}\n")[2].partition("\n## ")[0]


def blocks(heading: str, language: str = "") -> list[str]:
    """The blocks of code below a heading; those without a language are commands."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", section(heading), re.MULTILINE | re.DOTALL)
    return [text for kind, text in found if kind == language]


@asynccontextmanager
async def shell(script: str, folder: Path, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a script, whose processes all end with the block."""
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-ec", script),
        cwd=folder,
        env=clean | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def run(script: str, folder: Path, timeout_s: float = ANSWER_S, **environ: str) -> str:
    async with asyncio.timeout(timeout_s), shell(script, folder, **environ) as process:
        printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


async def reads(process: asyncio.subprocess.Process, text: str) -> str:
    """The first line with this text."""
    assert process.stdout is not None
    async with asyncio.timeout(ANSWER_S):
        while line := (await process.stdout.readline()).decode():
            if text in line:
                return line
    raise AssertionError(f"it ended without {text}")


async def answers(port: int, path: str) -> None:
    assert await asyncio.to_thread(http_status, port, path=path) in (200, 404)


@pytest.mark.parametrize("kind", ["fastapi", "django"])
async def test_a_first_view_logs_in_by_a_cookie(tmp_path: Path, kind: str):
    heading = "\n## A first view"
    port, edge_port = free_port(), free_port()
    (toml,) = blocks(heading, "toml")
    (tmp_path / "first.toml").write_text(toml.replace("8080", str(port)))
    (program,) = (block for block in blocks(heading, "python") if f"from {kind}" in block)
    (tmp_path / "first.py").write_text(program)

    def here(command: str) -> str:
        return command.replace(".venv/bin", str(BIN)).replace("8080", str(port)).replace("8100", str(edge_port))

    path = os.environ["PATH"] if shutil.which("curl") else f"{provide(tmp_path)}:{os.environ['PATH']}"
    start, connect, publish = map(here, blocks(heading))
    async with shell(f"{start}\nwait", tmp_path):
        await eventually(lambda: answers(port, "/"))
        await eventually(lambda: answers(edge_port, "/readyz"))
        async with (
            shell(connect, tmp_path, PATH=path) as alice,
            shell(connect.replace("-b user=alice", ""), tmp_path, PATH=path) as nobody,
        ):
            assert '"chat:lobby"' in await reads(alice, "connect")
            assert "log in first" in await reads(nobody, "4501")
            assert "Position" in await run(publish, tmp_path)
            assert "chat:lobby" in await reads(alice, '{"text":"hi"}')
        async with http_client() as http:
            url, key = f"http://127.0.0.1:{edge_port}/api/rpc", {"X-API-Key": "dev"}
            answer = await http.post(url, headers=key, json={"method": "greet", "params": {}})
            assert answer.json() == {"result": {"data": "greet for "}}
            forged = await http.post(f"http://127.0.0.1:{port}/realtime/rpc", json={"method": "greet", "user": "bob"})
            assert forged.status_code == 401


@pytest.mark.integration
async def test_a_row_of_sqlalchemy_is_published_with_its_transaction(postgres: Postgres):
    (code,) = (block for block in blocks("\n## In your transaction", "python") if "sqlalchemy" in block)
    found: dict[str, Any] = {}
    exec(code, found)
    engine = create_async_engine(postgres.empty_database().replace("postgresql://", "postgresql+asyncpg://"))
    outbox = (ROOT / "services/sessions/outbox/outbox.sql").read_text()
    try:
        async with engine.connect() as connection:
            await (await connection.get_raw_connection()).driver_connection.execute(outbox)  # type: ignore[union-attr]
        for n in range(2):
            async with AsyncSession(engine) as session:
                await found["publish_with_transaction"](session, "order:17", {"n": n})
                await (session.rollback() if n == 0 else session.commit())
        async with engine.connect() as connection:
            rows = await connection.exec_driver_sql("SELECT channel, data FROM fairlead_outbox")
            assert [tuple(row) for row in rows] == [("order:17", {"n": 1})]
    finally:
        await engine.dispose()


@pytest.mark.browser
@pytest.mark.stack
@pytest.mark.timeout(300)
async def test_the_shopping_list_starts_as_the_page_says(tmp_path: Path, browser: Browser):
    from tests.docs.shopper import Person, until  # playwright, which only tests with a browser need

    checkout = Checkout(tmp_path / "checkout", edges=2)
    folder = checkout.root / "docs/examples/shopping"
    shutil.copytree(ROOT / "docs/examples/shopping", folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "page" / SDK).parent.mkdir(parents=True)
    shutil.copy(ROOT / "tests/js" / SDK, folder / "page" / SDK)  # as npm installs it
    port = free_port()
    configuration = folder / "fairlead.toml"
    configuration.write_text(configuration.read_text().replace("8080", str(port)))

    prepare, fastapi, django = (
        block.replace("8080", str(port)).replace("127.0.0.1:5433", f"127.0.0.1:{checkout.ports['POSTGRES_PORT']}")
        for block in blocks("\n### To try it")
    )
    ports = " ".join(f"{name}={number}" for name, number in checkout.ports.items())
    ours = f"""
        make() {{ command make --no-print-directory -o .venv/.installed "$@" {ports}; }}
        npm() {{ test "$*" = "install --prefix page"; }}
    """
    environ = {"FAIRLEAD_URL": f"http://127.0.0.1:{checkout.ports['PORT']}"}
    kept = "\n".join(line for line in prepare.splitlines() if re.match("set|export|cd", line))
    try:
        await run(ours + prepare, checkout.root, 120)
        assert secrets_file.read(checkout.folders.secrets)
        for item, start in enumerate((fastapi, django)):
            async with shell(f"{kept}\n{start}", checkout.root, **environ):
                await eventually(lambda: answers(port, "/me"), within_s=ANSWER_S)
                context = await browser.new_context()
                alice = Person(await context.new_page(), "alice", f"http://127.0.0.1:{port}")
                await alice.log_in()
                await until(alice.is_online)
                await alice.add(f"Tea {item}")
                await until(alice.sees, f"Tea {item}")
                await context.close()
    finally:
        await asyncio.to_thread(checkout.make, "down")
