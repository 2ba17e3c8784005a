"""A NATS with the users of `deploy/nats/nats.conf`, as it ships."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import nats
from nats.aio.client import Client

from tests.support.eventually import eventually
from tests.support.servers_native import NativeNats

USERS: Final = ("edge", "sessions", "privacy", "metrics", "backend", "operator")
SHIPPED: Final = Path(__file__).resolve().parents[2] / "deploy/nats/nats.conf"


def password_of(user: str) -> str:
    return f"a-password-of-{user}"


def restricted_nats(folder: Path, configuration: str = "") -> NativeNats:
    """A server that has read it, or `configuration`. The passwords are in its environment, and so in the test's."""
    server = NativeNats(folder)
    server.configure(configuration or SHIPPED.read_text())
    os.environ.update({f"NATS_{user.upper()}_PASSWORD": password_of(user) for user in USERS})
    server.start()
    return server


def variables_of(user: str) -> dict[str, str]:
    """The settings of a service that signs in as `user`."""
    return {"FAIRLEAD_NATS_USER": user, "FAIRLEAD_NATS_PASSWORD": password_of(user)}


class NatsUser:
    """A plain NATS client of one user, and the subjects that it was refused."""

    def __init__(self, connection: Client, refused: list[str]) -> None:
        self.connection = connection
        self.refused = refused

    async def is_refused(self, action: str, subject: str) -> bool:
        """Tries to publish or subscribe; returns whether the server refused. Its answers keep the order of requests."""
        before = len(self.refused)
        if action == "publish":
            await self.connection.publish(subject, b"{}")
            await self._answered()
        else:
            subscription = await self.connection.subscribe(subject)
            await self._answered()
            await subscription.unsubscribe()
        return len(self.refused) > before

    async def _answered(self) -> None:
        for _ in range(2):  # nats-py sends the first ping ahead of what waits
            await self.connection.flush()


@asynccontextmanager
async def signed_in(server: NativeNats, user: str) -> AsyncIterator[NatsUser]:
    """A connection of that user."""
    refused: list[str] = []

    async def hear(error: Exception) -> None:
        if "permissions violation" in str(error):
            refused.append(str(error))

    connection = await nats.connect(server.url, user=user, password=password_of(user), error_cb=hear)
    try:
        await eventually(lambda: connection.is_connected)
        yield NatsUser(connection, refused)
    finally:
        await connection.close()
