"""Which of two processes gets the connections of a port that both listen on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.processes.ports import free_port
from deploy.traefik import __main__ as program
from deploy.traefik import gate as module
from deploy.traefik.gate import SUPPORTED, Gate, GatesUnsupported

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


def test_a_kernel_that_lets_no_program_choose_leaves_traefik_its_ports(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Such as that of a sandbox. Traefik runs all the same, and the log says what clients get while it starts."""
    monkeypatch.setattr(module, "_SO_ATTACH_REUSEPORT_CBPF", 9999)
    for name in ("_take_name", "_configure_log"):  # of the whole process, which is that of the tests
        monkeypatch.setattr(program, name, lambda: None)
    port, report = free_port(), tmp_path / "ended"
    with pytest.raises(GatesUnsupported):
        Gate(f"127.0.0.1:{port}")
    assert (
        program.main([f"--gate=127.0.0.1:{port}", "--ready=http://127.0.0.1:1/ping", "--", "touch", str(report)]) == 1
    )
    assert report.exists()
    assert "Traefik has its ports to itself" in caplog.text
