"""Two stock Centrifuge clients on the local stack talk to each other: run `make up`, then this.

    .venv/bin/python docs/examples/two_clients.py [ws://127.0.0.1:8000/connection/websocket]

Each connects through Traefik, which spreads clients over the edges. It reads the local stack's secret to make its
tokens; in production your backend makes them (any JWT library, claim `sub` = the user's id).
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import jwt
from centrifuge import (
    CentrifugeError,
    Client,
    ClientEventHandler,
    DisconnectedContext,
    ErrorContext,
    PublicationContext,
    SubscribedContext,
    SubscriptionEventHandler,
)

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/connection/websocket"
SECRETS = Path(__file__).resolve().parents[2] / ".fairlead" / "secrets.env"
MESSAGES = 3


def token(user: str) -> str:
    """A connection token for `user`, valid for an hour."""
    if not SECRETS.exists():
        sys.exit(f"{SECRETS} is not there: run `make up` first")
    lines = dict(line.split("=", 1) for line in SECRETS.read_text().splitlines() if "=" in line and line[0] != "#")
    secret = lines["FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY"].strip()
    return jwt.encode({"sub": user, "exp": int(time.time()) + 3600}, secret, algorithm="HS256")


class Trouble(ClientEventHandler):
    """Remembers the last error: the client does not print errors, it tries again."""

    last = ""

    async def on_error(self, ctx: ErrorContext) -> None:
        self.last = str(ctx.error)

    async def on_disconnected(self, ctx: DisconnectedContext) -> None:  # with a code after which clients stay away
        self.last = f"{ctx.code} {ctx.reason}"


class Printer(SubscriptionEventHandler):
    """Prints what one client receives, and knows when it has received everything."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.all_here = asyncio.Event()
        self._count = 0

    async def on_subscribed(self, ctx: SubscribedContext) -> None:
        print(f"{self.user:>5} is subscribed to chat:lobby")

    async def on_publication(self, ctx: PublicationContext) -> None:
        sender = ctx.pub.info.user if ctx.pub.info else "a backend"
        print(f"{self.user:>5} got offset {ctx.pub.offset} from {sender}: {ctx.pub.data}")
        self._count += 1
        if self._count == 2 * MESSAGES:
            self.all_here.set()


TROUBLE = Trouble()


async def main() -> None:
    printers = {user: Printer(user) for user in ("alice", "bob")}
    clients = {user: Client(ADDRESS, events=TROUBLE, token=token(user)) for user in printers}
    subscriptions = {}
    for user, client in clients.items():
        await client.connect()
        await client.ready(timeout=5)
        subscriptions[user] = client.new_subscription("chat:lobby", events=printers[user])
        await subscriptions[user].subscribe()
        await subscriptions[user].ready(timeout=10)
    for number in range(1, MESSAGES + 1):
        for user, subscription in subscriptions.items():
            await subscription.publish({"text": f"hello {number} from {user}"})
    await asyncio.wait_for(asyncio.gather(*(printer.all_here.wait() for printer in printers.values())), 10)
    for client in clients.values():
        await client.disconnect()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (TimeoutError, CentrifugeError) as error:
        why = TROUBLE.last or error or "no answer"
        sys.exit(f"failed at {ADDRESS}: {why}. Is the stack of this checkout running there (make up)?")
