"""The internals of nats-py's client that our subclass relies on. Its behaviour is tested through the link."""

from __future__ import annotations

import pytest
from nats.aio.client import Client
from nats.protocol.parser import Parser


@pytest.mark.parametrize(
    "owner, name",
    [
        (Client, "_process_connect_init"),
        (Client, "_process_info"),
        (Client, "_connect_command"),
        (Client, "_attempt_reconnect"),
        (Client, "ssl_context"),
        (Client(), "_status"),
        (Client(), "_max_payload"),
        (Client(), "_reconnection_task"),
        (Client(), "_reading_task"),
        (Client(), "_ping_interval_task"),
        (Client(), "_flusher_task"),
        (Client(), "_ps"),
        (Client(), "_sid"),
        (Client(), "_pending"),
        (Client(), "_server_info"),
        (Client(), "_pending_data_size"),
        (Client(), "_flush_queue"),
        (Client(), "_error_cb"),
        (Client(), "_transport"),
        (Parser, "parse"),
        (Parser, "reset"),
    ],
)
def test_the_parts_of_nats_py_that_the_client_takes_hold_of_are_there(owner, name):
    assert hasattr(owner, name), "nats-py has changed inside: see services/chassis/nats/client.py before it is taken"
