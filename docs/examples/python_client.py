"""A stock Python client on the local stack: publish exactly once, ask who is there, read the history.

    .venv/bin/python docs/examples/python_client.py [ws://127.0.0.1:8000/connection/websocket]

Run `make up` first. In production your backend makes the tokens (any JWT library, claim `sub` = the user's id).
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import jwt
from centrifuge import (
    CentrifugeError,
    Client,
    ClientDisconnectedError,
    ClientEventHandler,
    DisconnectedContext,
    ErrorContext,
    JoinContext,
    LeaveContext,
    OperationTimeoutError,
    PublicationContext,
    ReplyError,
    SubscribedContext,
    SubscriptionEventHandler,
)

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/connection/websocket"
SECRETS = Path(__file__).resolve().parents[2] / ".fairlead" / "secrets.env"
CHANNEL = "chat:lobby"


def token(user: str) -> str:
    """A connection token for `user`, valid for an hour. `info` is what others see beside the user's id."""
    if not SECRETS.exists():
        sys.exit(f"{SECRETS} is not there: run `make up` first")
    lines = dict(line.split("=", 1) for line in SECRETS.read_text().splitlines() if "=" in line and line[0] != "#")
    claims = {"sub": user, "exp": int(time.time()) + 3600, "info": {"name": user.title()}}
    return jwt.encode(claims, lines["FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY"].strip(), algorithm="HS256")


async def publish_once(client: Client, channel: str, data: Any, key: str) -> dict[str, Any]:
    """Publishes until it is known to be stored; with the same key it is stored once. Returns the position."""
    call = {"channel": channel, "data": data, "idempotency_key": key}
    while True:
        try:
            position: dict[str, Any] = (await client.rpc("fairlead.publish", call)).data
            return position
        except (OperationTimeoutError, ClientDisconnectedError):
            pass  # the connection broke: the publication may or may not be stored, so repeat it with the same key
        except ReplyError as error:
            if not error.temporary:
                raise
        await asyncio.sleep(0.2)


class Trouble(ClientEventHandler):
    """Remembers the last error: the client does not print errors, it tries again."""

    last = ""

    async def on_error(self, ctx: ErrorContext) -> None:
        self.last = str(ctx.error)

    async def on_disconnected(self, ctx: DisconnectedContext) -> None:  # with a code after which clients stay away
        self.last = f"{ctx.code} {ctx.reason}"


class Room(SubscriptionEventHandler):
    """Prints what happens in the channel."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    async def on_subscribed(self, ctx: SubscribedContext) -> None:
        back = f", recovered: {ctx.recovered}" if ctx.was_recovering else ""
        print(f"subscribed to {CHANNEL}{back}")

    async def on_publication(self, ctx: PublicationContext) -> None:
        print(f"{ctx.pub.info.user if ctx.pub.info else 'a backend'} wrote {ctx.pub.data}")
        self.heard.set()

    async def on_join(self, ctx: JoinContext) -> None:
        print(f"{ctx.info.user} joined")

    async def on_leave(self, ctx: LeaveContext) -> None:
        print(f"{ctx.info.user} left")


TROUBLE = Trouble()


async def main() -> None:
    client, room = Client(ADDRESS, events=TROUBLE, token=token("alice")), Room()
    subscription = client.new_subscription(CHANNEL, events=room)
    await client.connect()
    await client.ready(timeout=5)
    await subscription.subscribe()
    await subscription.ready(timeout=10)

    key = str(uuid.uuid4())
    first = await publish_once(client, CHANNEL, {"text": "hello"}, key)
    again = await publish_once(client, CHANNEL, {"text": "hello"}, key)
    print(f"stored at offset {first['offset']}; repeated, it is still there alone: {first == again}")
    await asyncio.wait_for(room.heard.wait(), 10)

    presence = await subscription.presence()
    for info in presence.clients.values():
        print(f"here is {info.user}, also known as {info.conn_info}")

    history = await subscription.history(limit=3, reverse=True)
    print(f"the last {len(history.publications)} of the history:", [p.data for p in history.publications])
    await client.disconnect()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (TimeoutError, CentrifugeError) as error:
        why = TROUBLE.last or error or "no answer"
        sys.exit(f"failed at {ADDRESS}: {why}. Is the stack of this checkout running there (make up)?")
