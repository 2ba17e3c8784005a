"""One WebSocket: the protocol class to which uvicorn hands an upgraded socket (its `ws=` option).

It feeds bytes to the wire, and messages to the connection. What the connection writes goes directly to the socket.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from functools import partial
from typing import Any, Final, cast

from proto import codes
from proto.events import BY_DRAIN
from services.chassis.process.log_fields import about
from services.edge.arrival import Arrival, UserHeader, arrival_of
from services.edge.connection.connection import Connection
from services.edge.connection.context import EdgeContext
from services.edge.connection.door import HTTP_STATUS, counted_as
from services.edge.connection.refusal_log import shown, shown_origin
from services.edge.framing import deflate, formats, wire
from services.edge.framing.formats import Compression, Format
from services.edge.framing.handshake import HandshakeRefused, Upgrade, accept_response, parse_upgrade
from services.edge.session.state import CONNECTED, NEW, REFUSED
from services.edge.transports.refused_handshakes import note_refused

WEBSOCKET_PATH: Final = "/connection/websocket"
UNI_WEBSOCKET_PATH: Final = "/connection/uni_websocket"

_JSON_SUBPROTOCOL: Final = "centrifuge-json"
_PROTOBUF_SUBPROTOCOL: Final = "centrifuge-protobuf"

FRAMES_PER_TURN: Final = 64
BYTES_PER_TURN: Final = 64 * 1024
"""Bytes of messages, after decompression. The last message of a turn may exceed the limit."""
COMMANDS_PER_TURN: Final = 64
SECONDS_PER_TURN: Final = 0.002
"""What one client's socket may ask of the edge in one turn of the event loop. When the first of these limits is
reached, the rest of the input waits for the client's next turn."""

AT_ONCE_BYTES: Final = 16 * 1024
"""Only a read that is smaller, together with the part of a message that arrived before it, is handled at once. A larger
one waits for its first turn, so that many clients with large messages take turns too."""

SMALL_BYTES: Final = 2 * 1024
"""A message of this size or more waits too, if clients have used up the time of this turn of the event loop already."""

OPENINGS_PER_TURN: Final = 64
"""Upgrades, and first messages of new clients, in one turn of the event loop. The others wait, in order, so that
connected clients are served in between."""

PONGS_PER_TURN: Final = 10
"""Up to this many consecutive pings are all answered, in one write; of more, only the newest is (RFC 6455, 5.5.3)."""

FRAMES_BEFORE_CONNECT: Final = 64
"""A client that sends more frames, pings and parts of messages included, without having connected is closed."""


class WebSocket(asyncio.Protocol):
    """The constructor takes uvicorn's arguments, the client's address, and whether a trusted proxy wrote the head of
    its request; `app_state` (of the lifespan) holds the context.
    """

    __slots__ = (
        "_address",
        "_before_connect",
        "_by_proxy",
        "_client",
        "_connection",
        "_context",
        "_frames",
        "_transport",
        "_wire",
    )

    def __init__(
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: Any = None,
        client: str = "",
        by_proxy: bool = False,
    ) -> None:
        self._context: EdgeContext = app_state["context"]
        self._client = client
        self._by_proxy = by_proxy
        self._address = counted_as(client)
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)  # until connection_made
        self._wire: wire.Wire | None = None  # until the handshake
        self._connection: Connection | None = None
        self._frames: Iterator[tuple[int, bytes]] | None = None  # received, and not handled yet
        self._before_connect = 0  # frames

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._connection is None or self._wire is None:
            if self._context.openings.take():
                self._open(data)
            else:
                self._transport.pause_reading()
                self._context.openings.wait(partial(self._open_now, data))
            return
        if self._connection.closed and self._transport.is_closing():
            return
        if self._frames is not None:  # rare, as reading is paused
            self._frames = _joined(self._frames, self._wire, data)
            return
        try:
            frames = self._wire.feed(data)
        except wire.WireError as error:
            self._fail(self._connection, error)
            return
        if isinstance(frames, tuple):
            if self._is_for_now(self._connection, max(len(data), len(frames[0][1]))):
                self._frame_received(self._connection, *frames[0])
            else:
                self._frames = iter(frames)
                self._connection.hold(self)
            return
        self._frames = frames
        if len(data) + self._wire.held_bytes >= AT_ONCE_BYTES or self.go_on():
            self._connection.hold(self)

    def _is_for_now(self, connection: Connection, size: int) -> bool:
        """Whether a message that came alone is to be handled at once."""
        if size >= AT_ONCE_BYTES:
            return False
        if connection.session.phase is NEW:
            return self._context.openings.take()
        return size < SMALL_BYTES or self._context.openings.has_time()

    def go_on(self) -> bool:
        """Handles the frames that one turn allows (see `incoming.Backlog`)."""
        connection, frames = self._connection, self._frames
        if connection is None or frames is None:
            return False
        try:
            if self._handle(connection, frames):
                return True
        except wire.WireError as error:
            self._fail(connection, error)
        self._frames = None
        return False

    def _handle(self, connection: Connection, frames: Iterator[tuple[int, bytes]]) -> bool:
        """Whether the turn ended before the frames did."""
        session, context = connection.session, self._context
        ends = context.turns.now() + SECONDS_PER_TURN
        most_commands = context.tally.messages_in + COMMANDS_PER_TURN
        count = size = 0
        pings: list[bytes] = []
        try:
            for opcode, payload in frames:
                if session.phase is not CONNECTED and self._is_too_much(connection):
                    continue
                if opcode == wire.PING:
                    pings.append(payload)
                elif opcode != wire.PART:
                    self._answer(connection, pings)
                    self._frame_received(connection, opcode, payload)
                count += 1
                size += len(payload)
                if (
                    count == FRAMES_PER_TURN
                    or size >= BYTES_PER_TURN
                    or opcode == wire.PART
                    or session.reading_paused
                    or context.tally.messages_in >= most_commands
                    or context.turns.now() >= ends
                ):
                    return True
            return False
        finally:
            self._answer(connection, pings)

    def _answer(self, connection: Connection, pings: list[bytes]) -> None:
        """Answers consecutive pings, before what follows them is handled."""
        if pings and not connection.closed:
            answered = pings if len(pings) <= PONGS_PER_TURN else pings[-1:]
            self._transport.write(b"".join([wire.frame(wire.PONG, payload) for payload in answered]))
        pings.clear()

    def _is_too_much(self, connection: Connection) -> bool:
        """Counts a frame of a client that is not connected; closes it and returns true if it sends too many."""
        if connection.session.phase is not NEW and connection.session.phase is not REFUSED:
            return False
        self._before_connect += 1
        if self._before_connect <= FRAMES_BEFORE_CONNECT:
            return False
        connection.close(codes.TOO_MANY_REQUESTS_CLOSE, f"more than {FRAMES_BEFORE_CONNECT} frames before connect")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._frames = None
        if self._connection is not None:
            self._connection.lost()

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.resume_writing()

    def shutdown(self) -> None:
        """uvicorn's shutdown. The drain has closed everything before."""
        if self._connection is not None:
            self._connection.close(codes.GOING_AWAY, by=BY_DRAIN)
        else:
            self._transport.close()

    # --- opening -----------------------------------------------------------------------------------------------------

    def _open_now(self, head: bytes) -> None:
        """Opens the connection, as its turn has come."""
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._open(head)

    def _open(self, head: bytes) -> None:
        if self._transport.is_closing():
            return
        upgrade: Upgrade | None = None
        try:
            user_header = self._context.policy.user_header
            upgrade = parse_upgrade(head, user_header.name if user_header is not None else "")
            format, subprotocol = self._choose(upgrade)
            user = self._user(user_header, upgrade) if user_header is not None else ""
        except HandshakeRefused as refused:
            self._context.tally.refused_upgrade(refused.cause)
            asked, transport = "", "websocket"
            if upgrade is not None:
                transport = "uni_websocket" if upgrade.path == UNI_WEBSOCKET_PATH else transport
                asked = f"; asked for {shown(upgrade.path)}{shown_origin(upgrade.headers.get('origin'))}"
            self._context.refusals.write("an upgrade was refused", f"{refused}{asked}", about(address=self._address))
            note_refused(self._context, refused.status, refused.cause, self._arrival(upgrade), transport)
            self._transport.write(refused.response)
            self._transport.close()
            return
        section = self._context.policy.section
        agreed = deflate.negotiate(upgrade.extensions) if section.compression else None
        if agreed is not None:
            format = formats.compressed(format, Compression(agreed.window_bits, section.compression_min_bytes))
        self._wire = wire.Wire(section.message_size_limit, compression=agreed is not None)
        self._transport.write(accept_response(upgrade, subprotocol, agreed.response if agreed is not None else ""))
        session = secrets.token_urlsafe() if format.unidirectional else ""  # only these are addressed by it
        native_pings = upgrade.query.get("cf_ws_frame_ping_pong") == "true" and not format.unidirectional
        arrival = self._arrival(upgrade, user)
        self._client = ""
        self._connection = connection = Connection(
            self._context, self._transport, format, session, native_pings, self._address, arrival
        )
        if format.unidirectional and (commands := upgrade.query.get("cf_connect")):
            connection.connect_received(commands.encode())

    def _arrival(self, upgrade: Upgrade | None, user: str = "") -> Arrival:
        """What is kept of the client's request; `upgrade` is None if it was not a valid upgrade."""
        header = _no_header if upgrade is None else upgrade.header
        return arrival_of(self._client, header, self._context.policy.kept, self._by_proxy, user)

    def _choose(self, upgrade: Upgrade) -> tuple[Format, str | None]:
        """The requested format, and the subprotocol to confirm. Raises `HandshakeRefused`."""
        unidirectional = upgrade.path == UNI_WEBSOCKET_PATH
        transports = self._context.policy.section.transports
        if (
            upgrade.path not in (WEBSOCKET_PATH, UNI_WEBSOCKET_PATH)
            or ("uni_websocket" if unidirectional else "websocket") not in transports
        ):
            raise HandshakeRefused(
                "404 Not Found", f"WebSockets are at {WEBSOCKET_PATH} (client.transports)", cause="not_offered"
            )
        why = self._context.admission.refusal()
        if why is not None:
            cause = self._context.admission.cause
            raise HandshakeRefused("503 Service Unavailable", f"{why}, try again", "Retry-After: 1\r\n", cause)
        if not self._context.policy.origins.allow(upgrade.headers.get("origin")):
            raise HandshakeRefused(
                "403 Forbidden", "this origin may not connect (client.allowed_origins)", cause="origin"
            )
        turned_away = self._context.door.knock(self._address, self._context.clock.now())
        if turned_away is not None:
            status, why, retry_after, limit = turned_away
            raise HandshakeRefused(HTTP_STATUS[status], f"{why}, try again", f"Retry-After: {retry_after}\r\n", limit)
        if unidirectional:
            return formats.UNI_WEBSOCKET, None
        offered = upgrade.subprotocols
        if _PROTOBUF_SUBPROTOCOL in offered:
            return formats.WEBSOCKET_PROTOBUF, _PROTOBUF_SUBPROTOCOL
        confirmed = _JSON_SUBPROTOCOL if _JSON_SUBPROTOCOL in offered else None
        if "protobuf" in (upgrade.query.get("cf_protocol"), upgrade.query.get("format")):
            return formats.WEBSOCKET_PROTOBUF, confirmed
        return formats.WEBSOCKET_JSON, confirmed

    def _user(self, user_header: UserHeader, upgrade: Upgrade) -> str:
        """The user according to a proxy. Raises `HandshakeRefused`."""
        try:
            return user_header.user(self._by_proxy, upgrade.header)
        except ValueError as error:
            raise HandshakeRefused("400 Bad Request", str(error)) from None

    # --- in ----------------------------------------------------------------------------------------------------------

    def _frame_received(self, connection: Connection, opcode: int, payload: bytes) -> None:
        if opcode == wire.CLOSE:
            self._closed_by_peer(connection, payload)
        elif connection.closed:
            return
        elif opcode == wire.PONG:
            connection.native_pong(self._context.clock.now())
        elif connection.session.state.format.unidirectional:
            connection.connect_received(payload)
        else:
            connection.message_received(payload)

    def _fail(self, connection: Connection, error: wire.WireError) -> None:
        """Closes without waiting for the peer's close frame, which cannot be found in broken input.

        Input is read and dropped for as long as a close handshake may take: a socket that is closed with unread input
        is reset, and then the peer may never read the reason.
        """
        if connection.closed:
            self._transport.close()
            return
        connection.close(error.close, str(error))
        if not self._transport.is_closing():
            self._transport.write_eof()

    def _closed_by_peer(self, connection: Connection, payload: bytes) -> None:
        code, reason = wire.parse_close(payload)
        if not connection.closed:
            echo = codes.NORMAL.code if code == wire.NO_STATUS else code
            self._transport.write(wire.close_frame(echo, ""))
        connection.closed_by_peer(code, reason)
        self._transport.close()


def _no_header(name: str) -> str:
    return ""


def _joined(frames: Iterator[tuple[int, bytes]], parser: wire.Wire, data: bytes) -> Iterator[tuple[int, bytes]]:
    yield from frames
    yield from parser.feed(data)
