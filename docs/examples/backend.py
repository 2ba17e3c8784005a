"""A backend in plain nats-py: it answers an RPC, and decides who may connect, subscribe and publish.

    .venv/bin/python docs/examples/backend.py [nats://127.0.0.1:4222]

Run it twice, and the two share the work: both subscribe in one queue group. Edges ask for the decisions that are
switched on: `connect_hook` and `refresh_hook` of `client`, `subscribe_hook` and `publish_hook` of a namespace.
docs/hooks.md describes all questions and answers, and how they travel.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import nats
from nats.aio.msg import Msg

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
QUEUE = "backend"
PASSWORDS = {"wonderland": "alice", "builder": "bob"}
HOUR_S = 3600


def permission_denied() -> dict[str, Any]:
    return {"error": {"code": 103, "message": "permission denied"}}


def connect(question: dict[str, Any]) -> dict[str, Any]:
    """`data` is what the client sent with its connect: the option `data` of centrifuge-js."""
    data = question.get("data")
    if not isinstance(data, dict) or "password" not in data:
        return {}  # "not known here": the client continues as if there were no hook
    user = PASSWORDS.get(data["password"])
    if user is None:
        return {"disconnect": {"code": 4501, "reason": "wrong password"}}  # after 4500 to 4999 clients stay away
    return {"result": {"user": user, "expire_at": int(time.time()) + HOUR_S, "info": {"name": user.title()}}}


def subscribe(question: dict[str, Any]) -> dict[str, Any]:
    """Every user has a channel of their own, and may not enter any other."""
    return {"result": {}} if question["channel"] == f"chat:{question['user']}" else permission_denied()


def publish(question: dict[str, Any]) -> dict[str, Any]:
    """Adds a signature and a tag to the publication."""
    data = question.get("data")
    if not isinstance(data, dict):
        return {"error": {"code": 400, "message": "expected a JSON object"}}
    return {"result": {"data": data | {"by": question["user"]}, "tags": {"kind": "chat"}}}


def refresh(question: dict[str, Any]) -> dict[str, Any]:
    """A connection expires: may it continue?"""
    if question["user"] not in PASSWORDS.values():
        return {"result": {"expired": True}}
    return {"result": {"expire_at": int(time.time()) + HOUR_S}}


async def main() -> None:
    async def tell(error: Exception) -> None:
        print(f"NATS at {ADDRESS}: {str(error) or type(error).__name__}", file=sys.stderr)

    connection = await nats.connect(ADDRESS, error_cb=tell, max_reconnect_attempts=-1)  # for as long as it takes

    async def greet(message: Msg) -> None:
        try:
            greeting = json.loads(message.data)["greeting"]
        except (ValueError, TypeError, KeyError):
            error = {"Nats-Service-Error-Code": "400", "Nats-Service-Error": 'expected {"greeting": "..."}'}
            return await connection.publish(message.reply, headers=error)
        user = unquote((message.headers or {})["Fairlead-User"])
        await message.respond(json.dumps({"text": f"{greeting}, {user}!"}).encode())

    await connection.subscribe("rpc.greet", QUEUE, greet)

    def answer_with(decide: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Msg], Any]:
        async def answer(message: Msg) -> None:
            await message.respond(json.dumps(decide(json.loads(message.data))).encode())

        return answer

    for decide in (connect, subscribe, publish, refresh):
        await connection.subscribe(f"hook.{decide.__name__}", QUEUE, answer_with(decide))
    await connection.flush()  # NATS knows all subscriptions now
    print(f"answering on {ADDRESS}; Ctrl-C ends it")
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
