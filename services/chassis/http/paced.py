"""Turns for HTTP: each turn of the event loop parses a part of what a client has sent.

The parser takes whatever a read brought, up to 256 KB, and calls back for each chunk of a body and each request in it:
40,000 times in a body of one-byte chunks. So it gets the bytes in parts, one in each turn, and the socket is not read
again before the last part is parsed. Ordinary requests are one part.
"""

from __future__ import annotations

import asyncio
from typing import Final
from weakref import WeakKeyDictionary, ref

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from services.chassis.http.limits import NOTHING_FOLLOWS, BoundedHttpProtocol
from services.chassis.process.turns import Turns

BYTES_PER_TURN: Final = 16 * 1024
"""How much of one connection is parsed in a turn. This many bytes in one-byte chunks take about 3 ms."""

_turns_of: WeakKeyDictionary[ServerState, Turns] = WeakKeyDictionary()


class _Flow(FlowControl):
    """uvicorn's pausing of reads. While parts wait, it pauses and resumes the parts instead of the socket."""

    def __init__(self, transport: asyncio.Transport, protocol: PacedHttpProtocol) -> None:
        super().__init__(transport)
        self._protocol = ref(protocol)  # weak: a cycle would wait for the garbage collector

    def resume_reading(self) -> None:
        protocol = self._protocol()
        if protocol is not None and protocol.parts_wait:
            self.read_paused = False
            protocol.wait_for_turn()
        else:
            super().resume_reading()


class PacedHttpProtocol(BoundedHttpProtocol):
    """uvicorn's protocol with limits, which parses in turns. For uvicorn's option `http`."""

    _turns: Turns
    _parts = b""  # received, and not parsed yet

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        self.flow = _Flow(transport, self)
        turns = _turns_of.get(self.server_state)
        if turns is None:
            turns = _turns_of[self.server_state] = Turns()
        self._turns = turns

    def connection_lost(self, exc: Exception | None) -> None:
        self._parts = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._parts and len(data) <= BYTES_PER_TURN:
            self.parse(data)
            return
        waited = self.parts_wait
        self._parts += data
        if not waited:
            self.transport.pause_reading()
            self.take_turn()

    def parse(self, part: bytes) -> None:
        """Hands a part to the parser."""
        super().data_received(part)

    @property
    def parts_wait(self) -> bool:
        """Whether received bytes are not parsed yet."""
        return bool(self._parts)

    def wait_for_turn(self) -> None:
        """Continues in a later turn of the event loop."""
        self._turns.wait(self)

    def take_turn(self) -> None:
        """Parses the next part (see `turns.TakesTurns`)."""
        if not self._parts or self.flow.read_paused:
            return
        part, self._parts = self._parts[:BYTES_PER_TURN], self._parts[BYTES_PER_TURN:]
        self.parse(part)
        if self.transport.is_closing():
            self._parts = b""
        elif self._parts:
            self.wait_for_turn()
        elif not self.flow.read_paused:
            self.transport.resume_reading()

    def _why_no_upgrade(self) -> str:
        return super()._why_no_upgrade() or (NOTHING_FOLLOWS if self._parts else "")
