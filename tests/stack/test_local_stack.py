"""`make up`, `make down` and what an operator relies on in between, on a real stack."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from deploy.local import __main__ as local
from deploy.local.settings import Folders
from tests.stack.checkout import ROOT, Checkout
from tests.stack.fairlead import Fairlead
from tests.support.eventually import eventually, wait_until
from tests.support.plain_http import http_client

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = Checkout(tmp_path_factory.mktemp("stack") / "a checkout", edges=3)  # with a space in its path
    yield made
    made.make("down")
    assert made.running() == []


async def test_up_makes_everything_ready_behind_one_address(checkout: Checkout) -> None:
    done = checkout.make("up")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ws://127.0.0.1:{checkout.ports['PORT']}/connection/websocket" in done.stdout
    assert "make token" in done.stdout
    assert "make down" in done.stdout
    fairlead = checkout.fairlead()

    async def three_edges() -> None:
        assert sorted(await fairlead.clients_by_edge()) == ["edge-1", "edge-2", "edge-3"]

    await eventually(three_edges)
    assert "sessions" in await fairlead.read("/sessions")
    async with http_client() as http:
        ready = await http.get(f"http://127.0.0.1:{checkout.ports['METRICS_PORT']}/readyz")
        assert ready.status_code == 200


async def test_clients_on_different_edges_talk_and_their_sessions_are_kept(checkout: Checkout) -> None:
    fairlead = checkout.up()
    async with fairlead.client("alice") as alice, fairlead.client("bob") as bob:
        await alice.join("chat:lobby")
        await bob.join("chat:lobby")

        async def on_two_edges() -> None:
            assert sorted((await fairlead.clients_by_edge()).values()) == [0, 1, 1]

        await eventually(on_two_edges)
        for number in range(20):
            await alice.publish({"number": number})

        await eventually(lambda: [data["number"] for data in bob.received] == list(range(20)))

        async def kept() -> bool:
            return bool((await fairlead.read("/users/bob/sessions"))["sessions"])

        await eventually(kept)


async def test_edge_killed_its_client_resumes_on_another_and_misses_nothing(checkout: Checkout) -> None:
    fairlead = checkout.up()

    async def no_clients() -> None:
        assert sum((await fairlead.clients_by_edge()).values()) == 0

    async def edge_of_alice() -> str:
        (name,) = [name for name, clients in (await fairlead.clients_by_edge()).items() if clients]
        return name

    await eventually(no_clients)  # of the tests before; the counts come once a second
    async with fairlead.client("alice") as alice:
        await alice.join("chat:killed")
        name = await eventually(edge_of_alice)
        await fairlead.call("publish", channel="chat:killed", data=0)

        checkout.process(name).kill()
        offsets = [await _publish_until_accepted(fairlead, number) for number in range(1, 20)]

        await eventually(lambda: alice.offsets[-1] == offsets[-1])
        assert alice.received == list(range(20))
        assert alice.resumes == [True]


async def _publish_until_accepted(fairlead: Fairlead, number: int) -> int:
    # A POST that the killed edge had received fails with 502; with its key a repeated one is stored once.
    async def publish() -> int:
        key = f"killed-{number}"
        result = await fairlead.call("publish", channel="chat:killed", data=number, idempotency_key=key)
        return int(result["offset"])

    return await eventually(publish)


async def test_a_call_that_meets_an_edge_that_hangs_is_answered_before_its_client_gives_up(checkout: Checkout) -> None:
    fairlead = checkout.up()
    hung = checkout.process("edge-2")
    async with http_client(timeout=10, headers={"X-API-Key": fairlead.api_key}) as http:

        async def publish_nine() -> set[int]:
            """Three to each edge. The statuses of their answers."""
            url = f"http://127.0.0.1:{fairlead.port}/api/publish"
            calls = [http.post(url, json={"channel": "live:x", "data": 1}) for _ in range(9)]
            return {answer.status_code for answer in await asyncio.gather(*calls)}

        async def meet_an_edge_that_hangs() -> bool:
            """False if a health check, which was under way, was first to find that the edge hangs."""
            hung.suspend()
            try:
                answered.update(await publish_nine())
            finally:
                hung.resume()
            return 504 in answered

        assert await publish_nine() == {200}
        answered = set[int]()
        await eventually(meet_an_edge_that_hangs)
        assert answered == {200, 504}


def test_up_twice_reports_that_it_is_running(checkout: Checkout) -> None:
    checkout.up()
    before = checkout.supervisord()

    again = checkout.make("up")

    assert again.returncode == 0
    assert "already running" in again.stdout
    assert checkout.supervisord() == before


def test_token_lets_in_until_it_expires(checkout: Checkout) -> None:
    checkout.up()
    done = checkout.make("token", USER="carol", TTL="10m")
    assert done.returncode == 0, done.stderr

    claims = jwt.decode(done.stdout.strip(), checkout.fairlead().token_key, algorithms=["HS256"])
    assert claims["sub"] == "carol"
    assert claims["exp"] - claims["iat"] == 600


def test_a_command_of_a_service_needs_nothing_but_its_name(checkout: Checkout) -> None:
    checkout.up()
    listed = checkout.make("run", DO="sessions dead-letters list")
    assert (listed.returncode, listed.stdout) == (0, "there are no dead letters\n"), listed.stderr
    checked = checkout.make("run", DO="edge-2 check")
    assert checked.returncode == 0, checked.stderr
    verified = checkout.make("run", DO="sessions verify")
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.startswith("the session log reaches back to "), "edges have told of their start"
    assert "equal: " in verified.stdout.splitlines()[-1], verified.stdout
    missing = checkout.make("run", DO="")
    assert missing.returncode != 0 and 'make run DO="sessions dead-letters list"' in missing.stderr


@pytest.mark.parametrize("named", [[], ["USER="], ["USER= "]])
def test_token_without_a_user_is_refused_before_anything_is_installed(tmp_path: Path, named: list[str]) -> None:
    shutil.copy2(ROOT / "Makefile", tmp_path)
    argv = ["make", "token", "PYTHON=false", *named]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(argv, cwd=tmp_path, env=clean | {"USER": "me"}, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "USER is required: make token USER=alice" in done.stderr
    assert done.stdout == "" and "Python" not in done.stderr


@pytest.mark.parametrize("user", ["", " "])
def test_token_without_a_user_is_refused_without_make(capsys: pytest.CaptureFixture[str], user: str) -> None:
    with pytest.raises(SystemExit) as ended:
        local.main(["token", user], {})
    shown = capsys.readouterr()
    assert ended.value.code != 0 and shown.out == ""
    assert "a user is required" in shown.err


def test_secrets_are_readable_by_their_owner_only_and_in_no_other_file(checkout: Checkout) -> None:
    fairlead = checkout.up()
    assert stat.S_IMODE(checkout.folders.secrets.stat().st_mode) == 0o600

    for path in [*checkout.folders.run.iterdir(), *checkout.folders.logs.iterdir()]:
        if path.is_file():
            text = path.read_bytes()
            assert fairlead.token_key.encode() not in text, path
            assert fairlead.api_key.encode() not in text, path


def test_taken_port_is_named_with_its_owner_and_the_variable_that_changes_it(
    checkout: Checkout, tmp_path: Path
) -> None:
    checkout.up()
    other = Checkout(tmp_path / "other", edges=1)

    done = other.make("up", PORT=str(checkout.ports["PORT"]))

    assert done.returncode != 0
    assert f"port {checkout.ports['PORT']} (traefik) is taken by traefik" in done.stderr
    assert "make up PORT=" in done.stderr
    assert other.running() == []
    assert checkout.running() != []  # it leaves another checkout's stack alone
    assert other.make("down").returncode == 0
    assert checkout.running() != []


def test_up_refuses_a_variable_that_it_does_not_have(tmp_path: Path) -> None:
    done = Checkout(tmp_path / "other", edges=1).make("up", EDGE="3")
    assert done.returncode != 0
    assert "make up has no variable EDGE; did you mean EDGES? It has EDGES, " in done.stderr


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"EDGES": "0"}, "EDGES=0: expected a number from 1 to 16"),
        ({"EDGES": "many"}, "EDGES=many: expected a number from 1 to 16"),
        ({"PORT": "70000"}, "PORT=70000: expected a number from 1 to 65535"),
        ({"PORT": "5000", "NATS_PORT": "5000"}, "would both listen on port 5000"),
    ],
)
def test_up_refuses_nonsense(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    expected: str,
) -> None:
    monkeypatch.setattr(local, "Folders", lambda: Folders(tmp_path))
    assert local.main(["up"], variables) == 1
    assert expected in capsys.readouterr().err


def test_service_that_does_not_start_shows_its_last_words_and_nothing_stays(tmp_path: Path) -> None:
    broken = Checkout(tmp_path / "broken", edges=1)
    (broken.root / "services" / "metrics" / "__main__.py").write_text("raise SystemExit('the last words')")

    done = broken.make("up")

    assert done.returncode != 0
    assert "metrics does not start" in done.stderr
    assert "the last words" in done.stderr
    assert broken.running() == []


def test_mistake_in_the_configuration_is_reported_before_anything_starts(tmp_path: Path) -> None:
    broken = Checkout(tmp_path / "broken", edges=1)
    config = broken.root / "deploy" / "local" / "fairlead.toml"
    config.write_text(config.read_text().replace("history_size = 1000", "history_sizes = 1000"))

    done = broken.make("up")

    assert done.returncode != 0
    assert 'unknown key channel.namespaces[0] ("chat").history_sizes; did you mean history_size?' in done.stderr
    assert "ready" not in done.stdout
    assert broken.running() == []


async def test_down_drains_frees_every_port_and_may_be_repeated_and_the_data_survive(checkout: Checkout) -> None:
    fairlead = checkout.up()
    before = await fairlead.call("publish", channel="chat:kept", data="before")
    sessions = await fairlead.read("/users/alice/sessions")

    first, second = checkout.make("down"), checkout.make("down")

    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.index("edge-1") < first.stdout.index("traefik") < first.stdout.index("nats")
    assert "killed" not in first.stdout
    assert checkout.running() == []
    for port in checkout.ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert (second.returncode, second.stdout.strip()) == (0, "nothing is running (make up starts it)")

    fairlead = checkout.up()
    after = await fairlead.call("publish", channel="chat:kept", data="after")
    assert (after["epoch"], after["offset"] > before["offset"]) == (before["epoch"], True)
    kept = await fairlead.read("/users/alice/sessions")
    assert [one["id"] for one in kept["sessions"]] == [one["id"] for one in sessions["sessions"]] != []


def test_up_after_a_crash_of_supervisord_clears_what_it_left(checkout: Checkout) -> None:
    checkout.up()
    daemon = checkout.supervisord()
    daemon.kill()
    daemon.wait(timeout=10)

    done = checkout.make("up")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "was not stopped properly" in done.stdout
    wait_until(lambda: checkout.running().count("edge-1") == 1, "one edge-1 runs")


def test_down_after_a_crash_of_supervisord_leaves_nothing_running(checkout: Checkout) -> None:
    checkout.up()
    daemon = checkout.supervisord()
    daemon.kill()
    daemon.wait(timeout=10)
    assert "edge-1" in checkout.running()

    done = checkout.make("down")

    assert done.returncode == 0, done.stdout + done.stderr
    assert checkout.running() == []
