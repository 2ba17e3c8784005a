"""How systems are described and launched, without starting them, and the errors where something is not installed."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from perf.errors import Refusal
from perf.load.publish_pool import PublishFailed, publish_pool
from perf.load.publish_targets import HttpPost
from perf.systems import foreign, installation, others
from perf.systems.fairlead import FAIRLEAD
from perf.systems.system import Unavailable
from perf.systems.trial_size import Size


def test_names_are_unique_and_everybody_says_what_it_does() -> None:
    everyone = (*FAIRLEAD, *others.OTHERS)
    assert len({one.name for one in everyone}) == len(everyone)
    assert all(one.for_each_client and one.for_each_message for one in everyone)


def test_one_edge_is_nats_and_an_edge_and_the_stack_is_all_of_make_up(tmp_path: Path) -> None:
    launch = FAIRLEAD[0].launch(tmp_path, 1)
    assert [program.name for program in launch.programs] == ["nats", "edge-1"]
    environ = launch.programs[1].environment
    assert environ["FAIRLEAD_EDGE_PORT"] == str(launch.port)
    assert environ["FAIRLEAD_CONFIG"].endswith("fairlead.toml")


def test_what_is_not_installed_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "STATE", tmp_path)
    with pytest.raises(Unavailable, match="perf compare --install"):
        others.channels(tmp_path, 1)


def test_other_pins_are_another_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "STATE", tmp_path)
    (tmp_path / "socketio").mkdir()
    (tmp_path / "socketio" / ".installed").write_text("of yesterday")
    with pytest.raises(Unavailable, match="of other versions"):
        installation.require("socketio")


@pytest.mark.parametrize("named", ["ws://127.0.0.1:8000/x", "x=ws://192.0.2.1/x", "x y=ws://127.0.0.1/x"])
def test_a_target_has_a_name_and_is_on_loopback(named: str) -> None:
    with pytest.raises(Refusal):
        foreign.system(named, "", "", "compare:{name}")


def test_a_target_without_a_key_is_published_to_by_its_clients(tmp_path: Path) -> None:
    launch = foreign.system("x=ws://127.0.0.1:1/c", "", "", "a:{name}").launch(tmp_path, 1)
    assert (launch.publish, launch.port, launch.dialect.opening(0).path) == (None, 1, "/c")


def test_each_room_keeps_ten_members_whatever_the_size() -> None:
    assert Size().changed(2000, None).rooms == 200
    assert Size().changed(None, 50.0).rate == 50.0


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nbad", False),
    ],
)
async def test_a_publication_is_taken_or_refused(answer: bytes, taken: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"{}"):
                writer.write(answer)
        writer.close()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with publish_pool(HttpPost(port), connections=1) as pool:
            for _ in range(2 if taken else 0):  # the connection is used again
                await pool.publish("c", b"{}")
            if not taken:
                with pytest.raises(PublishFailed, match="500 bad"):
                    await pool.publish("c", b"{}")
        await ended.wait()
