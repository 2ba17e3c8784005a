"""The journeys in docs/architecture.md are real: a trace of a frame's calls has the same functions."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

import pytest

from services.edge.framing.wire import TEXT
from tests.edge.transports.upgraded import Socket, masked
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
EDGE = ROOT / "services/edge"
PAGE = (ROOT / "docs/architecture.md").read_text()
MOST_FILES = 8
ON_NATS = {"broker/broker_memory.py": "broker/broker_nats.py"}  # the trace is of an edge by itself

JOURNEYS = {
    "### A publish": {"id": 2, "publish": {"channel": "chat:lobby", "data": {"text": "hi"}}},
    "### A subscribe that must wait": {"id": 2, "subscribe": {"channel": "chat:tea"}},
}

Call = tuple[str, str]
"""A file of the edge, and a function in it."""


def journey(heading: str) -> list[Call]:
    """The rows of the first table below a heading."""
    section = PAGE.partition(f"\n{heading}\n")[2].partition("\n#")[0]
    table = section.partition("| | file |")[2].partition("\n\n")[0]
    return re.findall(r"^\| \d \| `([\w/]+\.py)` \| `(\w+)` \|", table, re.MULTILINE)


@contextmanager
def calls() -> Iterator[list[Call]]:
    """The calls of functions of the edge, in order."""
    made: list[Call] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(EDGE):
            name = path.relative_to(EDGE).as_posix()
            made.append((ON_NATS.get(name, name), frame.f_code.co_name))

    sys.setprofile(note)
    try:
        yield made
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("heading", JOURNEYS)
async def test_a_frame_makes_the_journey_that_the_page_tells(heading):
    socket = Socket(await TestEdge(EdgeCluster(), insecure=True).start())
    socket.protocol.data_received(masked(TEXT, b'{"id":1,"connect":{}}'))
    command = masked(TEXT, json.dumps(JOURNEYS[heading]).encode())
    with calls() as made:
        socket.protocol.data_received(command)
        await eventually(partial(is_answered, socket))

    told = journey(heading)
    assert 0 < len(told) <= MOST_FILES and len({file for file, _ in told}) == len(told), "each file once"
    later = iter(made)
    assert [call for call in told if call not in later] == [], "in this order"


async def is_answered(socket: Socket) -> bool:
    return any(message.get("id") == 2 and "error" not in message for message in socket.messages)


def test_the_picture_names_files_that_exist():
    drawn = re.findall(r"[\w/]+\.py", (ROOT / "docs/images/two-ways.svg").read_text())
    folders = [EDGE, ROOT / "services", EDGE / "session", EDGE / "channels", EDGE / "connection", EDGE / "transports"]
    assert drawn
    assert [name for name in drawn if not any((folder / name).exists() for folder in folders)] == []
