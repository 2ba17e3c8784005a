"""The package `centrifuge-python` from PyPI. See `stock_clients`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import centrifuge

from tests.support.stock_errors import CommandFailed, Unauthorized
from tests.support.stock_payloads import as_bytes, from_bytes

_ANSWER_S = 15.0
_FAST_CLIENT = {"min_reconnect_delay": 0.1, "max_reconnect_delay": 0.5}
_FAST_SUBSCRIPTION = {"min_resubscribe_delay": 0.1, "max_resubscribe_delay": 0.5}


class PythonClient:
    """See `stock_clients.StockClient`."""

    def __init__(self, url: str, protobuf: bool = False, **options: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self._protobuf = protobuf
        self._client = centrifuge.Client(
            url,
            events=_ClientEvents(self.events),
            use_protobuf=protobuf,
            **_FAST_CLIENT,
            **self._options(options, for_channel=False),
        )

    def _options(self, given: dict[str, Any], for_channel: bool) -> dict[str, Any]:
        options = dict(given)
        if "data" in given:
            options["data"] = self._payload(given["data"])
        for name in ("get_token", "get_state"):
            if name in given:
                options[name] = _callback(given[name], for_channel)
        if "delta" in given:
            options["delta"] = centrifuge.DeltaType(given["delta"])
        if "tags_filter" in given:
            options["tags_filter"] = centrifuge.FilterNode(given["tags_filter"])
        return options

    def _payload(self, data: Any) -> Any:
        return as_bytes(data) if self._protobuf else data

    def _plain(self, data: Any) -> Any:
        return from_bytes(data) if self._protobuf else data

    def _subscription(self, channel: str, **options: Any) -> Any:
        if known := self._client.get_subscription(channel):
            return known
        given = self._options(options, for_channel=True)
        events = _SubscriptionEvents(self.events, channel)
        return self._client.new_subscription(channel, events=events, **_FAST_SUBSCRIPTION, **given)

    async def connect(self, *, wait: bool = True) -> None:
        with _as_command_failed():
            await self._client.connect()
            if wait:
                await self._client.ready(_ANSWER_S)

    async def disconnect(self) -> None:
        await self._client.disconnect()

    async def subscribe(self, channel: str, *, wait: bool = True, **options: Any) -> None:
        subscription = self._subscription(channel, **options)
        with _as_command_failed():
            await subscription.subscribe()
            if wait:
                await subscription.ready(_ANSWER_S)

    async def unsubscribe(self, channel: str) -> None:
        await self._subscription(channel).unsubscribe()

    async def publish(self, channel: str, data: Any, *, own: bool = False) -> None:
        with _as_command_failed():
            if own:
                await self._subscription(channel).publish(self._payload(data))
            else:
                await self._client.publish(channel, self._payload(data))

    async def history(
        self,
        channel: str,
        limit: int = 0,
        since: tuple[int, str] | None = None,
        reverse: bool = False,
        *,
        own: bool = False,
    ) -> dict[str, Any]:
        given = {"limit": limit, "since": since and centrifuge.StreamPosition(*since), "reverse": reverse}
        with _as_command_failed():
            found = await (
                self._subscription(channel).history(**given) if own else self._client.history(channel, **given)
            )
        publications = [_publication(pub) for pub in found.publications]
        return {"publications": publications, "offset": found.offset, "epoch": found.epoch}

    async def presence(self, channel: str, *, own: bool = False) -> dict[str, dict[str, Any]]:
        with _as_command_failed():
            found = await (self._subscription(channel).presence() if own else self._client.presence(channel))
        return {number: _who(info) for number, info in found.clients.items()}

    async def presence_stats(self, channel: str, *, own: bool = False) -> dict[str, int]:
        with _as_command_failed():
            found = await (
                self._subscription(channel).presence_stats() if own else self._client.presence_stats(channel)
            )
        return {"num_clients": found.num_clients, "num_users": found.num_users}

    async def rpc(self, method: str, data: Any) -> Any:
        with _as_command_failed():
            return self._plain((await self._client.rpc(method, self._payload(data))).data)

    async def deltas(self, channel: str) -> int:
        return sum(event.get("delta", False) for event in self.events if event.get("channel") == channel)

    async def close(self) -> None:
        await self._client.disconnect()
        # The client closes its sockets in tasks of their own, which must not outlive the test's event loop.
        if closing := [task for task in asyncio.all_tasks() if _name(task) == "Client._close_conn"]:
            await asyncio.wait(closing, timeout=_ANSWER_S)


def _name(task: asyncio.Task[Any]) -> str:
    return str(getattr(task.get_coro(), "__qualname__", ""))


@contextmanager
def _as_command_failed() -> Iterator[None]:
    try:
        yield
    except centrifuge.ReplyError as error:
        raise CommandFailed(error.code, str(error)) from None
    except centrifuge.CentrifugeError as error:
        raise CommandFailed(0, f"{type(error).__name__}: {error}") from None


def _callback(function: Callable[[], Any], for_channel: bool) -> Callable[..., Awaitable[Any]]:
    async def call(*channel: str) -> Any:
        assert len(channel) == for_channel
        try:
            value = function()
        except Unauthorized as error:
            raise centrifuge.UnauthorizedError(str(error)) from None
        return centrifuge.StreamPosition(**value) if isinstance(value, dict) else value

    return call


def _plain(data: Any) -> Any:
    return from_bytes(data) if isinstance(data, bytes) else data


def _who(info: Any) -> dict[str, Any]:
    conn_info, chan_info = _plain(info.conn_info), _plain(info.chan_info)
    return {"user": info.user, "client": info.client, "conn_info": conn_info, "chan_info": chan_info}


def _publication(pub: Any) -> dict[str, Any]:
    info = _who(pub.info) if pub.info else None
    user = info and info["user"]
    return {"data": _plain(pub.data), "offset": pub.offset, "tags": pub.tags, "info": info, "user": user}


def _subscribed(ctx: Any) -> dict[str, Any]:
    position = ctx.stream_position
    return {
        "recoverable": ctx.recoverable,
        "positioned": ctx.positioned,
        "position": position and {"offset": position.offset, "epoch": position.epoch},
        "was_recovering": ctx.was_recovering,
        "recovered": ctx.recovered,
        "data": _plain(ctx.data),
    }


class _ClientEvents(centrifuge.ClientEventHandler):
    """Its own, and those of subscriptions by the server."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self._events = events

    def _add(self, event: str, **more: Any) -> None:
        self._events.append({"event": event, **more})

    async def on_connecting(self, ctx: Any) -> None:
        self._add("connecting", code=ctx.code, reason=ctx.reason)

    async def on_connected(self, ctx: Any) -> None:
        self._add("connected", client_id=ctx.client, data=_plain(ctx.data))

    async def on_disconnected(self, ctx: Any) -> None:
        self._add("disconnected", code=ctx.code, reason=ctx.reason)

    async def on_error(self, ctx: Any) -> None:
        self._add("error", code=getattr(ctx.error, "code", ctx.code))

    async def on_subscribing(self, ctx: Any) -> None:
        self._add("subscribing", channel=ctx.channel)

    async def on_subscribed(self, ctx: Any) -> None:
        self._add("subscribed", channel=ctx.channel, **_subscribed(ctx))

    async def on_unsubscribed(self, ctx: Any) -> None:
        self._add("unsubscribed", channel=ctx.channel)

    async def on_publication(self, ctx: Any) -> None:
        self._add("publication", channel=ctx.channel, **_publication(ctx.pub))

    async def on_join(self, ctx: Any) -> None:
        self._add("join", channel=ctx.channel, info=_who(ctx.info))

    async def on_leave(self, ctx: Any) -> None:
        self._add("leave", channel=ctx.channel, info=_who(ctx.info))


class _SubscriptionEvents(centrifuge.SubscriptionEventHandler):
    def __init__(self, events: list[dict[str, Any]], channel: str) -> None:
        self._events, self._channel = events, channel

    def _add(self, event: str, **more: Any) -> None:
        self._events.append({"event": event, "channel": self._channel, **more})

    async def on_subscribing(self, ctx: Any) -> None:
        self._add("subscribing", code=ctx.code, reason=ctx.reason)

    async def on_subscribed(self, ctx: Any) -> None:
        self._add("subscribed", **_subscribed(ctx))

    async def on_unsubscribed(self, ctx: Any) -> None:
        self._add("unsubscribed", code=ctx.code, reason=ctx.reason)

    async def on_publication(self, ctx: Any) -> None:
        self._add("publication", **_publication(ctx.pub), delta=ctx.pub.delta)

    async def on_join(self, ctx: Any) -> None:
        self._add("join", info=_who(ctx.info))

    async def on_leave(self, ctx: Any) -> None:
        self._add("leave", info=_who(ctx.info))

    async def on_error(self, ctx: Any) -> None:
        self._add("error", code=getattr(ctx.error, "code", ctx.code))
