"""Limits on requests and WebSocket upgrades that uvicorn's HTTP parser does not have.

A request head beyond `max_head_bytes` or `MAX_HEAD_FIELDS` is answered with 431, one that is not complete after
`HEAD_TIMEOUT_S` with 408; then the connection is closed. The connection is also closed if an unread request body, or
the next request, takes longer than that. Without these limits a client could hold a socket for ever with half a
request. Trailers are dropped. An upgrade must use HTTP/1.1, and nothing may follow it before its response; otherwise
the answer is 400. What a refused client still sends is read and dropped for a while: closing a socket that has unread
data resets the connection, and the client may lose the answer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, MutableMapping
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar, Final, cast
from weakref import WeakKeyDictionary

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from services.chassis.http import proxy_protocol
from services.chassis.http.client_address import Proxies, is_by_proxy, mark_by_proxy
from services.chassis.http.deadlines import Deadlines
from services.chassis.http.health import LIVE_PATH, METRICS_PATH, READY_PATH
from services.chassis.http.refusals import refusal

MAX_HEAD_BYTES: Final = 16 * 1024
"""Room for cookies and a JWT. Most proxies have the same limit. A service with longer addresses sets its own limit."""

MAX_HEAD_FIELDS: Final = 100
"""Browsers send about twenty, proxies add ten."""

_LONGEST_PARSED_URL: Final = 65535
"""uvicorn gets the path from a parser of addresses that refuses longer ones."""

SPARE: Final = 16
"""Connections that are accepted beyond `room` when no connection can be closed for them. They may only ask for the
service's health and metrics."""

_HEALTH_PATHS: Final = frozenset(path.encode() for path in (LIVE_PATH, READY_PATH, METRICS_PATH))

MAX_PIPELINED: Final = 16
"""Requests that may wait behind one in progress. Neither browsers nor SDKs send another before they have the
response."""

MAX_DROPPED_BYTES: Final = 1024 * 1024
"""What a refused client may still send before its connection is closed, at the latest after `HEAD_TIMEOUT_S`."""

NOTHING_FOLLOWS: Final = "nothing may follow an upgrade before its response (RFC 6455, 4.1)"

HEAD_TIMEOUT_S: Final = 10.0
"""A client on a poor mobile link needs a few seconds. The timeout may take a tenth longer."""


class _HeadRefused(Exception):
    """Stops the parser after the client was answered."""


_deadlines_of: WeakKeyDictionary[ServerState, Deadlines] = WeakKeyDictionary()


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol with limits on requests, for uvicorn's option `http`."""

    head_timeout_s: ClassVar[float] = HEAD_TIMEOUT_S
    max_head_bytes: ClassVar[int] = MAX_HEAD_BYTES
    proxies: ClassVar[Proxies | None] = None
    """If set, requests have the client's address in their scope ("client"), and WebSockets get it as `client`. Both
    learn whether one of these proxies wrote the head (`client_address.is_by_proxy`)."""
    proxy_protocol_port: ClassVar[int] = 0
    """The port on which connections of `proxies` begin with a PROXY header. 0: none. `X-Forwarded-For` is ignored
    there: the proxy passes it through as the client wrote it."""
    room: ClassVar[Callable[[], int] | None] = None
    """Returns how many connections are allowed at the moment, not counting upgraded ones. None: any number."""
    turned_away: ClassVar[Callable[[str], None] | None] = None
    """Called for each connection for which there was no room ("no_room"), and for each bad upgrade ("bad_request")."""
    pipelined: ClassVar[Callable[[str], None] | None] = None
    """Called for each connection with more than `MAX_PIPELINED` requests, with the path of the last request that was
    taken."""
    _is_spare = False  # there was no room for this connection
    _is_shut_down = False
    _is_refused = False
    _dropped_bytes = 0  # since the refusal
    _running: RequestResponseCycle | None = None  # its response is next; `cycle` belongs to the latest request
    _awaiting_head = False
    _head_bytes = 0
    _head_end = b""
    _client_address = ""
    _passed_through = False  # the proxy has added nothing to requests
    _preamble: bytes | None = None  # the part of a PROXY header that has arrived; None if none is expected
    _received = 0  # size of the data that the parser is reading
    _deadlines: Deadlines

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        deadlines = _deadlines_of.get(self.server_state)
        if deadlines is None:
            deadlines = _deadlines_of[self.server_state] = Deadlines(self.loop, self.head_timeout_s)
        self._deadlines = deadlines
        self._await_head()
        if self.proxies is not None and self.server is not None and self.server[1] == self.proxy_protocol_port:
            self._passed_through = True
            self._preamble = b"" if self.proxies.trust((self.client or ("", 0))[0]) else None
        room = type(self).room
        if room is not None and len(self.connections) > room():
            self._make_room()

    def _make_room(self) -> None:
        """Closes the connection that has waited longest for its client: clients send their requests at once."""
        oldest = self._deadlines.take_oldest()
        if oldest is not None and oldest is not self:
            oldest.overdue()
            return
        self._deadlines.add(self)
        self._is_spare = True
        if len(self.connections) > cast("Callable[[], int]", type(self).room)() + SPARE:
            self._refuse_room()

    def _refuse_room(self) -> None:
        self._tell("no_room")
        self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections, try again")
        self.transport.close()  # a connection that waits for its client to close it takes room

    def _tell(self, cause: str) -> None:
        turned_away = type(self).turned_away
        if turned_away is not None:
            turned_away(cause)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadlines.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > MAX_DROPPED_BYTES:
                self.transport.close()
            return
        if self._preamble is not None:
            rest = self._read_preamble(self._preamble + data)
            if not rest:
                return
            data = rest
        if not self._awaiting_head and self._is_idle():
            self._await_head()  # the parser sees the head begin later, after any number of empty lines
        if self._awaiting_head:
            room = max(0, self.max_head_bytes - self._head_bytes)
            if len(data) > room and b"\r\n\r\n" not in self._head_end + data[:room]:
                self.refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    f"a request head has at most {self.max_head_bytes} bytes",
                    unparsed=data,
                )
                return
            self._head_bytes += len(data)
            self._head_end = (self._head_end + data[-3:])[-3:]
        self._received = len(data)
        super().data_received(data)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None:
            if cycle.more_body:
                self._deadlines.await_body(self)
            else:
                self._deadlines.complete_body(self)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            pipelined = type(self).pipelined
            if pipelined is not None:
                pipelined(cast("MutableMapping[str, Any]", self.scope)["path"])
            self.refuse(HTTPStatus.TOO_MANY_REQUESTS, "wait for responses before you send more requests")
            raise _HeadRefused
        super().on_message_begin()
        if not self._awaiting_head:  # a further request in the same read
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._awaiting_head:  # otherwise it is a trailer, and uvicorn would keep any number of them
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._awaiting_head = False
        self._deadlines.discard(self)
        if len(self.headers) > MAX_HEAD_FIELDS:
            self.refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a request head has at most {MAX_HEAD_FIELDS} fields"
            )
            raise _HeadRefused
        if self._is_spare and self.url.partition(b"?")[0] not in _HEALTH_PATHS:
            self._refuse_room()
            raise _HeadRefused
        if self.proxies is not None:
            self._find_client(self.proxies)
        if len(self.url) <= _LONGEST_PARSED_URL:
            super().on_headers_complete()
        else:
            self._complete_long_head()
        if not self.pipeline:
            self._running = self.cycle

    def _read_preamble(self, data: bytes) -> bytes:
        """Returns what follows the PROXY header. A connection without one is the proxy's own, such as a health
        check."""
        try:
            found = proxy_protocol.read(data)
        except ValueError as error:
            self.refuse(HTTPStatus.BAD_REQUEST, str(error))
            return b""
        self._preamble = data if found is None else None
        if found is None:
            return b""
        if found.address:
            self.client = (found.address, 0)
        return data[found.size :]

    def _find_client(self, proxies: Proxies) -> None:
        peer, port = self.client or ("", 0)
        if self._passed_through:
            self._client_address = peer
        else:
            forwarded = [value.decode("latin-1") for name, value in self.headers if name == b"x-forwarded-for"]
            self._client_address = proxies.client(peer, ",".join(forwarded))
        scope = cast("MutableMapping[str, Any]", self.scope)
        scope["client"] = (self._client_address, port)
        if not self._passed_through and proxies.trust(peer):
            mark_by_proxy(scope)

    def _complete_long_head(self) -> None:
        """Gives uvicorn only the path, and adds the query afterwards: the application's task, which reads it, begins in
        a later turn."""
        url = self.url
        self.url, _, query = url.partition(b"?")
        super().on_headers_complete()
        self.url = url  # for an upgrade, which begins later
        cast("MutableMapping[str, Any]", self.scope)["query_string"] = query

    def on_response_complete(self) -> None:
        if self.pipeline:
            self._running = self.pipeline[-1][0]
        super().on_response_complete()
        if self._is_answered():  # even if idle: uvicorn's deadline is earlier, but it can be closed to make room
            self._deadlines.add(self)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._is_answered():  # our deadline stays: data has ended uvicorn's own deadline for idle connections
            self.cycle.more_body = False

    def _is_answered(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and cycle.response_complete

    def _is_idle(self) -> bool:
        """Whether the last request is complete and answered."""
        return self._is_answered() and not self.cycle.more_body

    def overdue(self) -> None:
        """The deadline has passed, or another connection needs room."""
        cycle: RequestResponseCycle | None = self.cycle
        is_read = cycle is not None and cycle.more_body and not (cycle.response_started or self.pipeline)
        if self._awaiting_head or is_read:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT, "the request did not come in time")
        self.transport.close()  # at once: another connection may need its room

    def send_400_response(self, msg: str) -> None:
        self.refuse(HTTPStatus.BAD_REQUEST, msg)

    def shutdown(self) -> None:
        self._is_shut_down = True
        if self._is_refused:
            self.transport.close()
        else:
            super().shutdown()

    def refuse(self, status: HTTPStatus, why: str, unparsed: bytes = b"") -> None:
        """Answers with this status and ends the connection, unless it is already ending.

        The socket is closed when the client closes it, has sent `MAX_DROPPED_BYTES` more, or its deadline has passed.
        """
        transport: Any = self.transport
        if self._is_refused or transport.is_closing():
            return
        self._is_refused = True
        answer = refusal(status, why, has_body=not self._is_head_next(unparsed))
        self._end_requests()
        transport.write(answer)
        self._deadlines.forget(self)
        if self._is_shut_down:
            transport.close()
        else:
            transport.write_eof()
            self.flow.resume_reading()
            self._deadlines.add(self)

    def _is_head_next(self, unparsed: bytes) -> bool:
        """Whether the client takes the next answer for one to a HEAD: whether its oldest unanswered request is a
        HEAD."""
        running = self._running
        if running is not None and not running.response_complete:
            return bool(running.scope["method"] == "HEAD")
        return bool(self.parser.get_method() == b"HEAD") if self.url else unparsed.startswith(b"HEAD ")

    def _end_requests(self) -> None:
        """Tells the application that the client has gone: nothing is written after a refusal."""
        self.pipeline.clear()
        for cycle in (self._running, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def _await_head(self) -> None:
        self._awaiting_head = True
        self._head_bytes = 0
        self._head_end = b""  # the last bytes of the head, as the empty line may come in two reads
        self.url = b""
        before: RequestResponseCycle | None = self.cycle
        if (
            before is None or before.response_complete
        ):  # otherwise once that response is complete, since responses are in order
            self._deadlines.add(self)

    # --- upgrades ----------------------------------------------------------------------------------------------------

    def _should_upgrade(self) -> bool:
        # uvicorn checks only the last header of each name.
        return (
            self._should_upgrade_to_ws()
            and self._names(b"connection", b"upgrade")
            and self._names(b"upgrade", b"websocket")
        )

    def _names(self, header: bytes, token: bytes) -> bool:
        values = b",".join([value for name, value in self.headers if name == header])
        return token in [each.strip() for each in values.lower().split(b",")]

    def handle_websocket_upgrade(self) -> None:
        why = self._why_no_upgrade()
        if why:
            self._tell("bad_request")
            self.refuse(HTTPStatus.BAD_REQUEST, why)
            return
        if self.proxies is not None:
            made: Any = self.ws_protocol_class
            by_proxy = is_by_proxy(cast("MutableMapping[str, Any]", self.scope))
            self.ws_protocol_class = cast("Any", partial(made, client=self._client_address, by_proxy=by_proxy))
        super().handle_websocket_upgrade()
        del self.parser  # it refers to this object, and the two would otherwise wait for the garbage collector

    def _why_no_upgrade(self) -> str:
        if self.parser.get_http_version() != "1.1":
            return "a WebSocket is opened with HTTP/1.1"
        before: Any = self.cycle
        if before is not None and not before.response_complete:
            return "an upgrade has to wait for the response before it"  # which would be written between the frames
        parsed = sys.exception()  # uvicorn upgrades while it handles this exception, which says where the head ends
        if isinstance(parsed, httptools.HttpParserUpgrade) and parsed.args[0] < self._received:
            return NOTHING_FOLLOWS  # uvicorn would lose what follows
        return ""
