"""Ports that are taken are reported together, with a command that avoids all of them."""

from __future__ import annotations

import re
import socket
from dataclasses import asdict

import pytest

from deploy.local.ports import require_free
from deploy.local.settings import PORT_VARIABLES, LocalStackError, Plan, Ports, plan_from
from deploy.processes.ports import free_port


def test_several_taken_ports_end_in_one_command_that_avoids_them() -> None:
    free = {field: free_port() for field in asdict(Ports())}
    with (
        socket.create_server(("127.0.0.1", free_port())) as one,
        socket.create_server(("127.0.0.1", free_port())) as other,
    ):
        taken = {"traefik": one.getsockname()[1], "nats": other.getsockname()[1]}
        with pytest.raises(LocalStackError) as refused:
            require_free(Plan(Ports(**{**free, **taken}), edges=1), {"NATS_PORT": "1", "DETACH": "1"})

        *each, command = str(refused.value).splitlines()
        assert [re.findall(r"^port (\d+)", line) for line in each] == [[str(port)] for port in taken.values()]
        suggested = dict(re.findall(r"(\w+)=(\d+)", command))
        assert command.startswith("all together: make up ") and set(suggested) == {"PORT", "NATS_PORT", "DETACH"}
        chosen = {PORT_VARIABLES[field]: str(port) for field, port in free.items()} | suggested
        require_free(plan_from({**chosen, "EDGES": "1"}), {})
