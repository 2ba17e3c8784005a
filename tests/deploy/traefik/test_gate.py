"""Which of two processes gets the connections of a port that both listen on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from deploy.processes.ports import free_port
from deploy.traefik import gate as module
from deploy.traefik.gate import SUPPORTED, Gate

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="only Linux lets a program choose between two sockets")


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", ""])
def gate(request: pytest.FixtureRequest) -> Iterator[Gate]:
    made = Gate(f"{request.param}:{free_port()}")
    yield made
    made.socket.close()


@pytest.fixture
def other(gate: Gate) -> Iterator[socket.socket]:
    """What listens beside the gate, as Traefik does."""
    made = socket.socket(gate.socket.family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(gate.socket.getsockname())
    made.listen()
    yield made
    made.close()


def taken(listener: socket.socket, port: int, connections: int = 20) -> int:
    """How many new connections to the port this listener gets."""
    made = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    listener.setblocking(False)
    got = 0
    try:
        while True:
            listener.accept()[0].close()
            got += 1
    except BlockingIOError:
        return got
    finally:
        for each in made:
            each.close()


def test_all_are_ours_until_it_is_opened_and_again_once_it_is_closed(gate: Gate, other: socket.socket) -> None:
    assert taken(gate.socket, gate.port) == 20
    gate.open()
    assert taken(other, gate.port) == 20
    gate.close()
    assert taken(gate.socket, gate.port) == 20


def test_while_the_other_is_gone_all_are_ours_though_it_is_open(gate: Gate, other: socket.socket) -> None:
    gate.open()
    other.close()
    assert taken(gate.socket, gate.port) == 20


def test_a_port_that_somebody_else_shares_is_refused(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FREE_S", 0.0)
    with pytest.raises(OSError, match=f":{gate.port}: Address already in use") as refused:
        Gate(f"127.0.0.1:{gate.port}")
    assert refused.value.errno == errno.EADDRINUSE
