"""The stock clients, unmodified, behind one face: `centrifuge-python`, and `centrifuge` from npm run by Node, in JSON
and in Protobuf.

With Protobuf an application's payloads are bytes. Here they are JSON on all clients, so that clients of all kinds can
talk to each other; only `bytes` are sent as they are, and data that is not JSON is received as `bytes`.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, Final, Protocol

from tests.support.edges import in_seconds, token
from tests.support.eventually import eventually
from tests.support.processes import ServiceProcess
from tests.support.stock_js import JsClient, NodeConnection
from tests.support.stock_python import PythonClient

KINDS: Final = ("python-json", "python-protobuf", "js-json", "js-protobuf")
OTHER_KIND: Final = {
    "python-json": "js-protobuf",
    "python-protobuf": "js-json",
    "js-json": "python-protobuf",
    "js-protobuf": "python-json",
}
"""For the second client of a test: the other SDK with the other encoding."""


class StockClient(Protocol):
    """`events` grows: {"event": "publication", "channel", "data", "offset", "tags", "info", "user"}, "subscribed", ...

    Calls raise `stock_errors.CommandFailed` with the code that the SDK gives its application. `own`: by the method of
    the subscription instead of the client's.
    """

    events: list[dict[str, Any]]

    async def connect(self, *, wait: bool = True) -> None:
        """Connects; waits until it is connected, if `wait`."""

    async def disconnect(self) -> None: ...
    async def subscribe(self, channel: str, *, wait: bool = True, **options: Any) -> None:
        """Subscribes; waits until it is subscribed, if `wait`. `options` count only in the first call: token,
        get_token, data, positioned, recoverable, join_leave, delta, tags_filter, get_state. Callbacks take nothing,
        and may raise what `stock_errors` has for them.
        """

    async def unsubscribe(self, channel: str) -> None: ...
    async def publish(self, channel: str, data: Any, *, own: bool = False) -> None: ...
    async def history(
        self,
        channel: str,
        limit: int = 0,
        since: tuple[int, str] | None = None,
        reverse: bool = False,
        *,
        own: bool = False,
    ) -> dict[str, Any]: ...
    async def presence(self, channel: str, *, own: bool = False) -> dict[str, dict[str, Any]]: ...
    async def presence_stats(self, channel: str, *, own: bool = False) -> dict[str, int]: ...
    async def rpc(self, method: str, data: Any) -> Any: ...
    async def deltas(self, channel: str) -> int:
        """How many publications came as differences."""

    async def close(self) -> None: ...


class Make(Protocol):
    """Makes a client on an edge, with a token of `user` unless `options` tell otherwise."""

    def __call__(self, edge: ServiceProcess, user: str = "", /, **options: Any) -> StockClient: ...


class StockClients:
    """Makes clients, and closes them at the end of its `async with`."""

    def __init__(self) -> None:
        self._node = NodeConnection()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> StockClients:
        self._stack.push_async_callback(self._node.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def ready(self) -> None:
        """Returns when no client has to wait for Node to start: for tests whose tokens live for seconds."""
        await self._node.start()

    def make(self, kind: str, url: str, **options: Any) -> StockClient:
        """`options` of both SDKs: token, get_token, data, name, version, headers."""
        sdk, _, encoding = kind.partition("-")
        made: StockClient
        if sdk == "js":
            made = self.make_js(url, encoding, **options)
        else:
            made = PythonClient(url, protobuf=encoding == "protobuf", **options)
        self._stack.push_async_callback(made.close)
        return made

    def of(self, kind: str) -> Make:
        def make(edge: ServiceProcess, user: str = "", /, **options: Any) -> StockClient:
            if user:
                options.setdefault("token", token(user, exp=in_seconds(600)))
            return self.make(kind, edge.ws_url, **options)

        return make

    def make_js(self, url: str | list[dict[str, str]], encoding: str, **options: Any) -> JsClient:
        """For features of the JavaScript SDK alone. `url` may be a list of {"transport", "endpoint"}."""
        return JsClient(self._node, url, encoding, options)


def data_of(client: StockClient, channel: str) -> list[Any]:
    """The data of every publication that the client's application got on `channel`, in order."""
    return [event["data"] for event in events_of(client, "publication", channel)]


def events_of(client: StockClient, event: str, channel: str | None = None) -> list[dict[str, Any]]:
    """The client's events of one kind, of one channel if it is given."""
    return [e for e in client.events if e["event"] == event and channel in (None, e.get("channel"))]


async def receives(client: StockClient, channel: str, expected: list[Any]) -> None:
    """Waits until the client's application has got exactly this data on `channel`."""

    def check() -> None:
        got = data_of(client, channel)
        assert got == expected, f"got {got!r:.2000} instead of {expected!r:.2000} on {channel}"

    await eventually(check)


async def receives_last(client: StockClient, channel: str, expected: Any) -> None:
    """Waits until this is the newest data that the client's application has got on `channel`."""

    def check() -> None:
        got = data_of(client, channel)
        assert got[-1:] == [expected], f"got {got!r:.2000} instead of {expected!r:.2000} last on {channel}"

    await eventually(check)


async def sees(
    client: StockClient, event: str, channel: str | None = None, count: int = 1, within_s: float = 10
) -> list[dict[str, Any]]:
    """Waits for so many events of one kind, and returns all of them."""

    def check() -> list[dict[str, Any]]:
        found = events_of(client, event, channel)
        assert len(found) >= count, client.events
        return found

    return await eventually(check, within_s)
