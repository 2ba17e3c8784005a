"""The internals of nats-py's client that our subclass relies on. Its behaviour is tested through the link."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from nats.aio.client import Client
from nats.aio.transport import Transport
from nats.protocol.parser import Parser

from services.chassis.nats.client import ListeningClient
from services.chassis.nats.settings import NatsSettings
from services.chassis.nats.sign_in import SignIn


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


class SocketThatCloses:
    """A transport of nats-py: everything that waits for its end awaits one future, as with asyncio's `StreamWriter`."""

    def __init__(self) -> None:
        self.closed = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        pass

    async def wait_closed(self) -> None:
        await self.closed


def client_of(socket: SocketThatCloses) -> ListeningClient:
    client = ListeningClient(SignIn(NatsSettings()))
    client._transport, client._flush_queue = cast("Transport", socket), asyncio.Queue()
    return client


async def test_a_close_that_meets_the_beginning_of_a_reconnect_is_not_cancelled_with_it():
    client = client_of(socket := SocketThatCloses())
    client._reconnection_task = reconnecting = asyncio.create_task(socket.wait_closed())
    await asyncio.sleep(0)
    await client.close()
    assert client.is_closed and reconnecting.cancelled()


async def test_a_close_that_is_cancelled_ends():
    client = client_of(SocketThatCloses())
    closing = asyncio.create_task(client.close())
    while not client.is_closed:
        await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
