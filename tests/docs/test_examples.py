"""The examples, and the README's first app, run as their readers run them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from deploy.processes.ports import free_port
from tests.docs.conftest import Stack
from tests.docs.readme import block
from tests.support.edges import API_KEY, SECRET, token, wire_client
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/protocol.md"
SDK = ROOT / "tests/js/node_modules/centrifuge/build/index.mjs"
ANSWER_S = 30.0

WITH_HOOKS = """
[client]
connect_hook = true
[[channel.namespaces]]
name = "chat"
history_size = 10
history_ttl = "1h"
subscribe_hook = true
publish_hook = true
"""


async def run(stack: Stack, example: str, *arguments: str, program: Path | str = sys.executable) -> str:
    """The output of the example."""
    done = await outcome_of(stack.root, example, *arguments, program=program)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def outcome_of(
    folder: Path, example: str, *arguments: str, program: Path | str = sys.executable
) -> subprocess.CompletedProcess[str]:
    command = [program, example, *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, cwd=folder, capture_output=True, text=True, timeout=ANSWER_S
    )


@pytest.mark.stack
@pytest.mark.timeout(180)
async def test_two_clients_talk(stack):
    printed = await run(stack, "docs/examples/two_clients.py", stack.address)
    assert "alice got" in printed and "from bob: {'text': 'hello 3 from bob'}" in printed


@pytest.mark.stack
@pytest.mark.timeout(180)
async def test_a_python_client_publishes_once_and_sees_who_is_there(stack):
    printed = await run(stack, "docs/examples/python_client.py", stack.address)
    assert "subscribed to chat:lobby" in printed and "alice joined" in printed
    assert printed.count("alice wrote {'text': 'hello'}") == 1
    assert "it is still there alone: True" in printed
    assert "here is alice, also known as {'name': 'Alice'}" in printed
    last = printed.splitlines()[-1]
    assert "of the history" in last and last.count("{'text': 'hello'}") == 1


@pytest.mark.stack
@pytest.mark.timeout(180)
async def test_the_javascript_of_the_protocol_page_publishes_once(stack, tmp_path):
    (snippet,) = re.findall(r"^```js\n(async function publishOnce.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    script = tmp_path / "publish_once.mjs"
    script.write_text(
        f"import {{ Centrifuge }} from {json.dumps(str(SDK))};\n{snippet}"
        "const [, , address, token] = process.argv;\n"
        "const client = new Centrifuge(address, { token });\n"
        "const subscription = client.newSubscription('chat:js');\n"
        "subscription.subscribe(); client.connect(); await subscription.ready();\n"
        "const first = await publishOnce(client, 'chat:js', { text: 'hi' }, 'a-key');\n"
        "const again = await publishOnce(client, 'chat:js', { text: 'hi' }, 'a-key');\n"
        "const refused = await publishOnce(client, 'nope:x', 1).catch((error) => error.code);\n"
        "console.log(JSON.stringify({ first, again, refused }));\n"
        "client.disconnect();\n"
    )
    node = Path(sys.executable).with_name("node")
    told = json.loads(await run(stack, str(script), stack.address, token("jo", stack.fairlead.token_key), program=node))
    assert told["first"] == told["again"] and told["first"]["offset"] > 0 and told["first"]["epoch"]
    assert told["refused"] == 102


@pytest.mark.stack
@pytest.mark.timeout(180)
async def test_a_backend_publishes_in_three_ways(stack):
    nats = f"nats://127.0.0.1:{stack.checkout.ports['NATS_PORT']}"
    printed = await run(stack, "docs/examples/publish.py", f"http://127.0.0.1:{stack.fairlead.port}", nats)
    lines = dict(line.split(":", 1) for line in printed.splitlines())
    assert json.loads(lines["over HTTP"].replace("'", '"'))["result"]["offset"] > 0
    assert lines["over HTTP"].strip() == lines["the same again"].removesuffix("(stored once)").strip()
    straight = [line for line in printed.splitlines() if line.startswith("straight to NATS:")]
    assert len(straight) == 2 and straight[0] == straight[1], "stored once"


@pytest.mark.stack
@pytest.mark.timeout(180)
async def test_a_backend_publishes_into_the_stack_of_its_checkout_unless_it_names_another(stack):
    printed = await run(stack, "docs/examples/publish.py")
    assert printed.count("straight to NATS:") == 2

    half = await outcome_of(stack.root, "docs/examples/publish.py", f"http://127.0.0.1:{stack.fairlead.port}")
    assert half.returncode != 0 and "both of its addresses" in half.stderr
    assert half.stdout == "", "nothing was published"


@pytest.mark.stack
@pytest.mark.timeout(180)
async def test_the_python_app_of_the_readme_prints_what_it_publishes_and_what_a_backend_does(stack, tmp_path):
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


@pytest.mark.stack
@pytest.mark.timeout(180)
async def test_the_python_app_of_the_readme_prints_why_it_was_turned_away(stack, tmp_path):
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


@pytest.mark.integration
@pytest.mark.once
@pytest.mark.parametrize("example", ["two_clients.py", "python_client.py"])
async def test_a_client_says_why_it_is_not_let_in(edge, tmp_path, example):
    examples, secrets = tmp_path / "docs/examples", tmp_path / ".fairlead/secrets.env"
    examples.mkdir(parents=True)
    secrets.parent.mkdir()
    shutil.copy(ROOT / "docs/examples" / example, examples)
    secrets.write_text(f"FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY={'of-another-stack-' * 3}\n")
    nobody = f"ws://127.0.0.1:{free_port()}/connection/websocket"
    expected = {
        edge.ws_url: "3500 invalid token",
        f"{edge.url.replace('http', 'ws')}/nope": "HTTP 404",
        nobody: "Errno",
    }
    done = await asyncio.gather(*(outcome_of(tmp_path, f"docs/examples/{example}", address) for address in expected))
    for one, (address, why) in zip(done, expected.items(), strict=True):
        assert one.returncode != 0 and "Traceback" not in one.stderr
        assert address in one.stderr and why in one.stderr and "no answer" not in one.stderr


@pytest.fixture
async def edge(services: Services, nats_server: NatsServer) -> ServiceProcess:
    """An edge that asks a backend."""
    settings = {
        "FAIRLEAD_NATS_URL": nats_server.url,
        "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": SECRET,
        "FAIRLEAD_HTTP_API_KEY": API_KEY,
    }
    return await services.start("edge", settings, WITH_HOOKS).ready()


@asynccontextmanager
async def backend(nats: NatsServer) -> AsyncIterator[None]:
    """docs/examples/backend.py, answering."""
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "docs/examples/backend.py", nats.url, cwd=ROOT, env=environ, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(ANSWER_S):
            assert (await process.stdout.readline()).startswith(b"answering on")
        yield
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.integration
@pytest.mark.once
async def test_a_backend_decides_and_answers(edge, nats_server):
    async with backend(nats_server), wire_client(edge) as client, wire_client(edge) as stranger:
        connected = await client.ask(connect={"data": {"password": "wonderland"}})
        assert connected["connect"]["expires"] and connected["connect"]["client"]
        await client.subscribe("chat:alice")
        assert (await client.ask(subscribe={"channel": "chat:bob"}))["error"]["code"] == 103
        greeting = await client.ask(rpc={"method": "greet", "data": {"greeting": "Good morning"}})
        assert greeting["rpc"]["data"] == {"text": "Good morning, alice!"}
        assert (await client.ask(rpc={"method": "greet", "data": 1}))["error"]["code"] == 400
        assert (await client.ask(rpc={"method": "nobody.answers"}))["error"]["code"] == 108

        await client.send({"id": 1, "publish": {"channel": "chat:alice", "data": {"text": "hi"}}})
        first, second = await client.message(), await client.message()
        assert {"id": 1, "publish": {}} in (first, second)
        publication = (second if "id" in first else first)["push"]["pub"]
        assert publication["data"] == {"text": "hi", "by": "alice"} and publication["tags"] == {"kind": "chat"}

        await stranger.send({"id": 1, "connect": {"data": {"password": "?"}}})
        assert await stranger.closed() == (4501, "wrong password")
