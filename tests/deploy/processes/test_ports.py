"""Free ports have no listener, no two callers get the same one, and a range can be set aside for a process."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from deploy.processes import ports


def test_a_port_with_a_listener_is_in_use() -> None:
    with socket.socket() as server:
        server.bind((ports.HOST, 0))
        server.listen()
        trouble = ports.trouble(server.getsockname()[1])
    assert trouble is not None and trouble.errno == errno.EADDRINUSE


def test_no_port_is_given_out_twice_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    first = int((os.environ.get(ports.RANGE_VARIABLE) or "15000-0").partition("-")[0])
    monkeypatch.setenv(ports.RANGE_VARIABLE, f"{first}-{first + 60}")
    given = [ports.free_port() for _ in range(20)]
    assert len(set(given)) == 20
    assert all(first <= port < first + 60 for port in given)


def test_a_span_is_free_as_a_whole() -> None:
    port = ports.free_port(span=4)
    assert [ports.trouble(port + step) for step in range(4)] == [None] * 4


def test_a_range_without_a_free_port_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind((ports.HOST, 0))
        server.listen()
        port = server.getsockname()[1]
        monkeypatch.setenv(ports.RANGE_VARIABLE, f"{port}-{port + 1}")
        with pytest.raises(OSError, match="no free port"):
            ports.free_port()
