"""The three ways for a backend to publish: over HTTP, by a NATS request, straight to NATS. Run `make up`, then this.

    .venv/bin/python docs/examples/publish.py [http://127.0.0.1:8000 nats://127.0.0.1:4222]

The server API (HTTP, or NATS requests) checks the namespace, and has more methods than this one: docs/server-api.md.
Publishing straight to NATS works from any NATS client in any language, with no edge in between. proto/publications.py
explains a publication's headers, proto/subjects.py its subject; this file shows both in full.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.request
import uuid
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nats
from nats.aio.client import Client

STATE = Path(__file__).resolve().parents[2] / ".fairlead"
SECRETS, RUNNING = STATE / "secrets.env", STATE / "run" / "stack.json"
WITH_HISTORY = "chat:lobby"
WITHOUT_HISTORY = "live:cursor"


def addresses() -> tuple[str, str]:
    """Both as given, or those of this checkout's stack. NATS asks for no key: a wrong stack would take publications."""
    match sys.argv[1:]:
        case [http, nats_url]:
            return http, nats_url
        case [] if RUNNING.exists():
            ports = json.loads(RUNNING.read_text())["ports"]
            return f"http://127.0.0.1:{ports['traefik']}", f"nats://127.0.0.1:{ports['nats']}"
    sys.exit("run `make up` first, or give both of its addresses for another stack: http://... nats://...")


HTTP, NATS = addresses()


def api_key() -> str:
    if "FAIRLEAD_HTTP_API_KEY" in os.environ:
        return os.environ["FAIRLEAD_HTTP_API_KEY"]
    if not SECRETS.exists():
        sys.exit(f"{SECRETS} is not there: run `make up` first, or set FAIRLEAD_HTTP_API_KEY")
    lines = dict(line.split("=", 1) for line in SECRETS.read_text().splitlines() if "=" in line and line[0] != "#")
    return lines["FAIRLEAD_HTTP_API_KEY"].strip()


# --- 1. the server API over HTTP ------------------------------------------------------------------------------------


def call_by_http(method: str, call: dict[str, Any]) -> dict[str, Any]:
    headers = {"X-API-Key": api_key(), "Content-Type": "application/json"}
    request = urllib.request.Request(f"{HTTP}/api/{method}", json.dumps(call).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


async def quiet(error: Exception) -> None:
    """nats-py would print a traceback for every attempt to connect; the error is printed at the end instead."""


# --- 2. the server API by a NATS request ----------------------------------------------------------------------------


async def call_by_nats(connection: Client, method: str, call: dict[str, Any]) -> dict[str, Any]:
    """Without a key: every client that may publish to `api.>` on NATS may do this."""
    reply = await connection.request(f"api.{method}", json.dumps(call).encode(), timeout=10)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


# --- 3. straight to NATS --------------------------------------------------------------------------------------------


def token(name: str) -> str:
    """A channel is one token of a subject, percent-encoded: "chat:lobby" stays, "chat:a.b" is "chat:a%2Eb"."""
    return quote(name, safe="-_:").replace(".", "%2E").replace("~", "%7E")


async def publish_with_history(connection: Client, channel: str, data: Any, key: str, tags: dict[str, str]) -> int:
    """Returns the offset. By then JetStream has stored the publication; subscribers receive it from the edges."""
    stream = connection.jetstream()
    namespace = channel.removeprefix("$").partition(":")[0] if ":" in channel else "_"
    first = await stream.stream_info(f"CH_{token(namespace).replace('%', '=')}_0")
    partitions = int((first.config.metadata or {})["fairlead-partitions"])  # it never changes: ask once
    partition = zlib.crc32(channel.encode()) % partitions
    headers = {
        "Nats-Msg-Id": key,  # repeated within the stream's window, it is stored once
        "Fairlead-Tags": json.dumps(tags),
    }
    subject = f"ch.{token(namespace)}.{partition}.{token(channel)}"
    stored = await stream.publish(subject, json.dumps(data).encode(), headers=headers)
    return stored.seq


async def publish_without_history(connection: Client, channel: str, data: Any) -> None:
    """At most once, to clients that are subscribed at this moment."""
    await connection.publish(f"eph.{token(channel)}", json.dumps(data).encode())


async def main() -> None:
    key = uuid.uuid4().hex
    call = {"channel": WITH_HISTORY, "data": {"text": "over HTTP"}, "idempotency_key": key}
    print("over HTTP:         ", await asyncio.to_thread(call_by_http, "publish", call))
    print("the same again:    ", await asyncio.to_thread(call_by_http, "publish", call), "(stored once)")

    connection = await nats.connect(NATS, error_cb=quiet, max_reconnect_attempts=1, reconnect_time_wait=0.5)
    call = {"channel": WITH_HISTORY, "data": {"text": "by a NATS request"}, "tags": {"kind": "greeting"}}
    print("by a NATS request: ", await call_by_nats(connection, "publish", call))

    for _ in range(2):
        data, tags = {"text": "straight to NATS"}, {"kind": "greeting"}
        offset = await publish_with_history(connection, WITH_HISTORY, data, f"my-app.{key}", tags)
        print("straight to NATS:  ", {"offset": offset})
    await publish_without_history(connection, WITHOUT_HISTORY, {"x": 3, "y": 4})
    await connection.drain()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (OSError, nats.errors.Error) as error:
        sys.exit(f"failed at {HTTP} and {NATS}: {error}")
