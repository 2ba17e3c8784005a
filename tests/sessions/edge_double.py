"""Writes facts and heartbeats as an edge does, from within a test."""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType
from typing import Any

import nats.js.errors
from nats.aio.client import Client

from proto import subjects
from proto.events import LOG_DUPLICATE_WINDOW_S, LOG_MAX_AGE_S, EventBatch, SessionEvent, encode_batch
from proto.telemetry import EdgeLoad, Heartbeat, Process, encode_heartbeat
from services.chassis.nats.stream_making import stream_config
from tests.support.eventually import eventually

PROCESS = Process(cpu_s=1.5, rss_bytes=50_000_000, open_fds=20, max_fds=1024, loop_lag_s=0.001, uptime_s=60.0)


def load(**changes: int | None) -> EdgeLoad:
    values: dict[str, int | None] = dict.fromkeys(
        ("connections", "users", "channels", "subscriptions", "messages_in", "messages_out", "bytes_out", "publishes"),
        0,
    )
    return EdgeLoad(**(values | {"accepted": 0} | changes))  # type: ignore[arg-type]  # the names are its fields


class _Client(Client):
    """nats-py's client, which leaves a connection open to a proxy, as of containers, that has no server behind it."""

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except BaseException:
            if self._transport is not None:
                self._transport.close()
            raise


class EdgeDouble:
    """An edge process by the name of `instance`. An async context manager.

    It sends a heartbeat every second, as edges do; with `silent`, only those that the test sends by `beat`.
    """

    def __init__(self, nats_url: str, instance: str, edge: str = "edge-1", *, silent: bool = False) -> None:
        self._url = nats_url
        self._silent = silent
        self.instance = instance
        self.edge = edge
        self.number = 0

    async def __aenter__(self) -> EdgeDouble:
        self._link = _Client()
        often: dict[str, Any] = {"reconnect_time_wait": 0.05, "max_reconnect_attempts": -1}  # typed as whole seconds
        await self._link.connect(self._url, **often)
        self._pulse = asyncio.create_task(self._beat_on())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pulse.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pulse
        await self._link.close()

    async def _beat_on(self) -> None:
        while not self._silent:
            if self._link.is_connected:
                await self.beat()
            await asyncio.sleep(1)

    def die(self) -> None:
        """Its heartbeats end, as those of an edge that was killed."""
        self._pulse.cancel()

    def batch(self, *events: SessionEvent) -> EventBatch:
        self.number += 1
        return EventBatch(edge=self.edge, instance=self.instance, number=self.number, events=list(events))

    async def write(self, *events: SessionEvent) -> EventBatch:
        """Stores the facts as one batch, and makes the stream if it is missing."""
        batch = self.batch(*events)
        await self.store(encode_batch(batch), batch.message_id)
        return batch

    async def store(self, data: bytes, message_id: str) -> None:
        """Stores bytes as they are."""
        js = self._link.jetstream(timeout=5)
        try:
            await js.stream_info(subjects.SESSIONS_STREAM)
        except nats.js.errors.NotFoundError:
            await js.add_stream(
                stream_config(
                    subjects.SESSIONS_STREAM, subjects.SESSION_EVENTS_ALL, LOG_MAX_AGE_S, LOG_DUPLICATE_WINDOW_S
                )
            )
        await js.publish(subjects.session_events(self.instance), data, headers={"Nats-Msg-Id": message_id})

    async def beat(self) -> None:
        """One heartbeat."""
        heartbeat = Heartbeat(
            service="edge",
            name=self.edge,
            instance=self.instance,
            version="0",
            at=int(time.time() * 1000),
            process=PROCESS,
            edge=load(connections=1),
        )
        await self._link.publish(subjects.telemetry("edge", self.instance), encode_heartbeat(heartbeat))

    async def remove(self, sequence: int) -> None:
        """Removes one message of the log, as `nats stream rmm` does."""
        await self._link.jetstream(timeout=5).delete_msg(subjects.SESSIONS_STREAM, sequence)

    async def delete_log(self) -> None:
        await self._link.jetstream(timeout=5).delete_stream(subjects.SESSIONS_STREAM)

    async def purge(self, keep: int) -> None:
        """Removes all but the newest messages of the log, as its limits do."""
        await self._link.jetstream(timeout=5).purge_stream(subjects.SESSIONS_STREAM, keep=keep)

    async def settled(self, consumer: str) -> None:
        """Waits until the durable consumer has acknowledged everything in the log."""
        js = self._link.jetstream(timeout=5)

        async def all_acknowledged() -> bool:
            info = await js.consumer_info(subjects.SESSIONS_STREAM, consumer)
            return (info.num_pending, info.num_ack_pending) == (0, 0)

        await eventually(all_acknowledged)
