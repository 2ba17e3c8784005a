"""Ways in which a log can prove what a channel had, for much longer than it keeps publications: each on a NATS server.

They are compared in docs/decisions/0019-an-index-proves-recoveries.md. `Log.publish` makes the server do the work of a
way, `Log.record_bytes` says what it keeps, `Log.resume` asks what a cold edge would ask for one client.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from perf.errors import RunFailed

WAYS: Final = ("none", "markers", "republished", "written", "index")
IN_FLIGHT: Final = 64
_INDEX: Final = "IDX"
_DAY_NS: Final = 86_400 * 10**9
_WAIT_S: Final = 60.0
_POLL_S: Final = 0.02


class Log:
    """A stream as Fairlead makes it, with what one way adds."""

    def __init__(self, client: Client, way: str, channels: int, payload: int) -> None:
        self._client = client
        self._way = way
        self._names = [f"0.0.chat:room-{number}" for number in range(channels)]
        self._data = b"x" * payload

    async def make(self) -> None:
        """Makes the streams."""
        marked = {"allow_msg_ttl": True, "subject_delete_marker_ttl": _DAY_NS} if self._way == "markers" else {}
        await self._stream("CH", max_msgs_per_subject=10, max_age=300 * 10**9, subjects=["ch.>"], **marked)
        kept: dict[str, Any] = {"max_age": 30 * _DAY_NS, "max_msgs_per_subject": 1}
        match self._way:
            case "republished":
                await self._stream("REC", subjects=["live.>"], **kept)
            case "written":
                await self._stream("REC", subjects=["rec.>"], **kept)
            case "index":
                consumer = {
                    "name": _INDEX,
                    "durable_name": _INDEX,
                    "deliver_subject": "idx",
                    "deliver_policy": "all",
                    "ack_policy": "flow_control",
                    "flow_control": True,
                    "idle_heartbeat": 10**9,
                    "max_ack_pending": 1000,
                    "headers_only": True,
                    "replay_policy": "instant",
                }
                await self._api(f"CONSUMER.CREATE.CH.{_INDEX}", {"stream_name": "CH", "config": consumer})
                source = {"name": "CH", "consumer": {"name": _INDEX, "deliver_subject": "idx"}}
                await self._stream("REC", sources=[source], **{**kept, "max_msgs_per_subject": 128})
                await self._publish_all(1)
                await self._recorded(1)

    async def publish(self, count: int) -> None:
        """Publishes, with at most `IN_FLIGHT` unacknowledged; returns when all is acknowledged and recorded."""
        before = (await self._state("CH"))["last_seq"]
        await self._publish_all(count)
        await self._recorded(before + count)

    async def _publish_all(self, count: int) -> None:
        room, acknowledged, done = asyncio.Semaphore(IN_FLIGHT), 0, asyncio.Event()

        async def on_ack(_: Msg) -> None:
            nonlocal acknowledged
            acknowledged += 1
            room.release()
            if acknowledged == count:
                done.set()

        inbox = self._client.new_inbox()
        acks = await self._client.subscribe(inbox, cb=on_ack)
        for number in range(count):
            await room.acquire()
            name = self._names[number % len(self._names)]
            headers = {"Nats-Msg-Id": f"{inbox}.{number}"}
            await self._client.publish(f"ch.{name}", self._data, reply=inbox, headers=headers)
            if self._way == "written":
                await self._client.publish(f"rec.{name}", b"", headers={"Fairlead-Last": str(number)})
        await asyncio.wait_for(done.wait(), _WAIT_S)
        await acks.unsubscribe()

    async def _recorded(self, sequence: int) -> None:
        if self._way not in ("republished", "written", "index"):
            return
        async with asyncio.timeout(_WAIT_S):
            while (await self._state("REC"))["last_seq"] < sequence:
                await asyncio.sleep(_POLL_S)

    async def record_bytes(self) -> float:
        """What is kept of a channel beyond the log, in bytes on the disk."""
        if self._way in ("none", "markers"):  # a marker comes when a channel's log has expired
            return 0.0
        state = await self._state("REC")
        return float(state["bytes"]) / len(self._names)

    async def resume(self, number: int) -> None:
        """What a cold edge asks for one client that comes back to the end of a channel."""
        subject = f"ch.{self._names[number % len(self._names)]}"
        match self._way:
            case "republished":
                await self._get("REC", last_by_subj="live" + subject.removeprefix("ch"))
            case "written":
                await self._get("REC", last_by_subj="rec" + subject.removeprefix("ch"))
            case "index":
                await self._get("REC", last_by_subj=">")
                await self._get("REC", seq=1, next_by_subj=subject)
                await self._get("REC", seq=1, next_by_subj=">")
        await self._get("CH", seq=1, next_by_subj=subject)
        await self._state("CH")

    async def _stream(self, name: str, **options: Any) -> None:
        republish = {"republish": {"src": "ch.>", "dest": "live.>"}} if name == "CH" else {}
        config = {"name": name, "retention": "limits", "storage": "file", "allow_direct": True, **republish, **options}
        await self._api(f"STREAM.CREATE.{name}", config)

    async def _state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = (await self._api(f"STREAM.INFO.{name}", {}))["state"]
        return state

    async def _get(self, stream: str, **query: Any) -> None:
        await self._client.request(f"$JS.API.DIRECT.GET.{stream}", json.dumps(query).encode(), timeout=5)

    async def _api(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._client.request(f"$JS.API.{call}", json.dumps(body).encode() if body else b"", timeout=5)
        found: dict[str, Any] = json.loads(answer.data)
        if "error" in found:
            raise RunFailed(f"NATS refuses {call}: {found['error'].get('description')}")
        return found
