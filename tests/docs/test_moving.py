"""The pages for users who move from another server: their code runs on an edge, or is what a command prints."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from services.edge.configuration import from_environ
from services.edge.moving.centrifugo_file import read_options
from services.edge.moving.option_table import read_table
from services.edge.moving.report import Verdict
from services.edge.moving.translation import Translation
from tests.support.edges import FAST_GOODBYE, token
from tests.support.processes import ServiceProcess, Services

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs/moving"
EVERY_OPTION = ROOT / "tests/edge/moving/every_option.json"
SDK = ROOT / "tests/js/node_modules/centrifuge/build/index.mjs"
NODE = Path(sys.executable).with_name("node")
ANSWER_S = 15.0
ADDRESS = "ws://127.0.0.1:8000/connection/websocket"
SECRET, API_KEY = "a-secret-of-thirty-two-characters-or-more", "the-key-of-our-backends"

pytestmark = [pytest.mark.integration, pytest.mark.native]


def blocks(page: str, language: str) -> list[str]:
    """The page's blocks of code in this language."""
    text = (PAGES / page).read_text()
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found
    return found


def imported(folder: Path, config: str) -> str:
    """What the command prints about the page's configuration, which it converts in this folder."""
    (folder / "config.json").write_text(config)
    done = subprocess.run(
        [sys.executable, "-m", "services.edge", "import-centrifugo", "config.json"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=ANSWER_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


async def start(services: Services, toml: str) -> ServiceProcess:
    """An edge by itself with this configuration, at a port of its own."""
    variables = {"FAIRLEAD_EDGE_BROKER": "memory", "FAIRLEAD_EDGE_CLIENT_PORT": "0", "FAIRLEAD_EDGE_HOST": "127.0.0.1"}
    return await services.start("edge", variables | FAST_GOODBYE, toml).ready()


class Script:
    """A page's JavaScript, run by Node: `prefix` is what the page leaves to the reader. It ends with its input."""

    def __init__(self, folder: Path, prefix: str, code: str) -> None:
        self._file = folder / "client.mjs"
        ends = "process.stdin.on('end', () => process.exit()).resume();\n"
        self._file.write_text(
            f"import {{ Centrifuge, UnauthorizedError }} from {json.dumps(str(SDK))};\n{prefix}\n{code}\n{ends}"
        )

    async def __aenter__(self) -> Script:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(NODE, self._file, stdin=pipe, stdout=pipe)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(ANSWER_S):
            await self._process.wait()

    async def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        async with asyncio.timeout(ANSWER_S):
            return (await self._process.stdout.readline()).decode().rstrip("\n")


def test_the_page_says_what_instead_for_everything_that_is_not_there() -> None:
    """The numbers are those of a configuration with every option."""
    page = (PAGES / "from-centrifugo.md").read_text()
    section = page.partition("## What is not there")[2].partition("\n## ")[0]
    lines = Translation(read_options(EVERY_OPTION), read_table()).lines
    left = [line.option for line in lines if line.verdict is Verdict.NOT_THERE]
    rows = re.findall(r"^\|[^|]+\| (\d+) \|([^|]+)\|[^|]+\|$", section, re.MULTILINE)
    for number, options in rows:
        patterns = [re.escape(each).replace(r"\*", ".*") for each in re.findall(r"`([^`]+)`", options)]
        named = [option for option in left if any(re.fullmatch(pattern, option) for pattern in patterns)]
        assert len(named) == int(number), options
        left = [option for option in left if option not in named]
    assert left == []
    counted = Counter(line.verdict.value for line in lines)
    text = " ".join(section.split())
    assert f"has {sum(counted.values()):,} of them" in text
    assert f"{counted['same']} are the same, {counted['renamed']} renamed, {counted['not needed']} not needed" in text
    first = sum(int(number) for number, _ in rows[:6])
    assert f"and {counted['not there']} not there; {first} of the last are in the first six rows" in text


def test_the_command_prints_and_writes_what_the_page_says(tmp_path: Path) -> None:
    (config,), (report,) = blocks("from-centrifugo.md", "json"), blocks("from-centrifugo.md", "text")
    toml, _ = blocks("from-centrifugo.md", "toml")
    assert imported(tmp_path, config) == report
    assert (tmp_path / "fairlead.toml").read_text() == toml
    from_environ({"FAIRLEAD_CONFIG": str(tmp_path / "fairlead.toml")})


def test_the_backends_of_the_page_are_taken_by_an_edge(tmp_path: Path) -> None:
    _, backends = blocks("from-centrifugo.md", "toml")
    (tmp_path / "fairlead.toml").write_text(backends)
    settings = from_environ({"FAIRLEAD_CONFIG": str(tmp_path / "fairlead.toml")})
    assert settings.channel.namespaces[0].subscribe_backend == settings.backends[1].name == "rooms"


async def test_clients_and_callers_of_centrifugo_go_on_as_they_are(tmp_path: Path, services: Services) -> None:
    (toml, _), (client,) = blocks("from-centrifugo.md", "toml"), blocks("from-centrifugo.md", "js")
    (backend,) = blocks("from-centrifugo.md", "python")
    edge = await start(services, toml)
    prefix = (
        f"const fetchToken = async () => {json.dumps(token('alice', SECRET))};\n"
        "const show = (data) => console.log(data.text);\n"
    )
    code = client.replace(ADDRESS, edge.ws_url)
    async with Script(tmp_path, prefix, code + "room.on('subscribed', () => console.log('subscribed'));") as script:
        assert await script.line() == "subscribed"
        exec_in = backend.replace("http://127.0.0.1:9000", edge.url)
        await asyncio.to_thread(exec, exec_in, {})
        assert await script.line() == "from a backend"


DJANGO = """
import sys
from types import SimpleNamespace
from wsgiref.simple_server import make_server

from django.conf import settings

url, key, secret = sys.argv[1:]
settings.configure(
    ROOT_URLCONF=__name__, MIDDLEWARE=["__main__.sessions"], ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="of the test",
    FAIRLEAD_URL=url, FAIRLEAD_API_KEY=key, FAIRLEAD_TOKEN_SECRET=secret,
)


def sessions(view):
    def with_user(request):
        known = request.COOKIES.get("sessionid") == "of alice"
        request.user = SimpleNamespace(pk=7, is_authenticated=known, get_username=lambda: "alice")
        return view(request)

    return with_user


def may_enter(user, room):
    return room == "tea"


def save_message(user, room, text):
    return {"id": 1, "by": user.get_username(), "text": text}


"""
SERVES = """
import django
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
with make_server("127.0.0.1", 0, application) as server:
    print(server.server_port, flush=True)
    server.serve_forever()
"""


async def test_the_views_do_what_the_consumer_did(tmp_path: Path, services: Services) -> None:
    _, views = blocks("from-django-channels.md", "python")
    _, page = blocks("from-django-channels.md", "js")
    (toml,) = blocks("from-django-channels.md", "toml")
    edge = await start(services, toml)
    (tmp_path / "site.py").write_text(DJANGO + views + SERVES)
    django = await asyncio.create_subprocess_exec(
        sys.executable,
        tmp_path / "site.py",
        *(edge.url, API_KEY, SECRET),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )
    try:
        assert django.stdout is not None
        async with asyncio.timeout(ANSWER_S):
            port = int(await django.stdout.readline())
        prefix = (
            "const over = globalThis.fetch, headers = {}, show = (message) => console.log(JSON.stringify(message));\n"
            "let cookie = 'sessionid=\"of alice\"';\n"
            f"const there = (path) => `http://127.0.0.1:{port}${{path}}`;\n"
            "globalThis.fetch = (path, options) => over(there(path), { ...options, headers: { cookie } });\n"
        )
        suffix = (
            "room.on('subscribed', () => say('hello'));\n"
            "const other = client.newSubscription('chat:secret', { getToken: () => ask('/rooms/secret/enter') });\n"
            "other.on('unsubscribed', ({ code }) => console.log(code));\n"
            "room.on('publication', () => other.subscribe());\n"
            f"const stranger = new Centrifuge('{edge.ws_url}', {{ getToken: () => ask('/realtime/connect') }});\n"
            "stranger.on('disconnected', ({ code }) => console.log('stranger', code));\n"
            "other.on('unsubscribed', () => { cookie = ''; stranger.connect(); });\n"
        )
        async with Script(tmp_path, prefix, page.replace(ADDRESS, edge.ws_url) + suffix) as script:
            assert json.loads(await script.line()) == {"id": 1, "by": "alice", "text": "hello"}
            assert await script.line() == "1", "unauthorized"
            assert await script.line() == "stranger 1", "who has signed out gets no token, and no page for people"
    finally:
        django.kill()
        await django.wait()


async def test_what_was_emitted_to_a_room_is_published_to_a_channel(tmp_path: Path, services: Services) -> None:
    *_, backend, page = blocks("from-socketio.md", "js")
    (toml,) = blocks("from-socketio.md", "toml")
    edge = await start(services, toml)
    prefix = (
        f"const SECRET = {SECRET!r}, API_KEY = {API_KEY!r}, alice = {{ id: '7', name: 'Alice' }};\n"
        "const mayEnter = async (user, room) => room === 'tea';\n"
        "const save = async (user, room, text) => ({ id: 1, by: user.name, text });\n"
        "const show = (message) => console.log(JSON.stringify(message));\n"
        "const ask = async (path) => path === '/connect' ? connect(alice) : enter(alice, path.split('/')[2]);\n"
    )
    suffix = "room.on('subscribed', async () => console.log(JSON.stringify(await say(alice, 'tea', 'hello'))));\n"
    code = (backend + page).replace(ADDRESS, edge.ws_url).replace("http://127.0.0.1:8000", edge.url)
    async with Script(tmp_path, prefix, code + suffix) as script:
        said = {await script.line(), await script.line()}
        assert said == {'{"id":1}', '{"id":1,"by":"Alice","text":"hello"}'}
