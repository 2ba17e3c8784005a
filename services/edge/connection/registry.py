"""The connections of this edge: all of them, those of each user, and those that HTTP requests name by a secret."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple, Protocol

from proto.codes import CloseCode
from proto.events import BY_EDGE
from services.edge.session.server_commands import ServerCommand
from services.edge.session.session import Session
from services.edge.session.state import REFUSED

_LOOKED_AT: Final = 64
"""How many unadmitted connections are searched for one that can make room: some connects are being decided on."""


class Lag(NamedTuple):
    """Whether a client is slow, and how many bytes wait for it here."""

    slow: bool
    size: int


class RegisteredConnection(Protocol):
    """A connection as the other parts of the edge use it."""

    session: Session

    @property
    def closed(self) -> bool:
        """Whether the session is over."""

    @property
    def lag(self) -> Lag:
        """How far the client is behind."""

    def message_received(self, message: bytes) -> None:
        """Handles a frame of commands."""

    def server_command(self, command: ServerCommand) -> None:
        """Queues a command of a backend behind the commands that wait."""

    def leave(self, close: CloseCode, by: str = BY_EDGE) -> None:
        """Closes once the command in progress is answered. `by` is who wants it (`proto.events`)."""

    def close(self, close: CloseCode, detail: str = "", by: str = BY_EDGE) -> None:
        """Closes now."""

    def cut(self, by: str = BY_EDGE) -> None:
        """Closes without waiting for the client."""


class ConnectionRegistry:
    """Connections add themselves when they are made, and remove themselves when their transport is gone.

    A set costs 200 bytes, so a user's only connection is stored without one. Anonymous connections have the user "".
    `stalled` are those whose socket is full.
    """

    def __init__(self) -> None:
        self._all: set[RegisteredConnection] = set()
        # In order; a plain dict takes long to find its first one after many were removed.
        self._unconnected: OrderedDict[RegisteredConnection, None] = OrderedDict()
        self._by_user: dict[str, RegisteredConnection | set[RegisteredConnection]] = {}
        self._streams: dict[str, RegisteredConnection] = {}
        self.stalled: set[RegisteredConnection] = set()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[RegisteredConnection]:
        """Iterates over a copy, as a connection may remove itself meanwhile."""
        return iter(tuple(self._all))

    def add(self, connection: RegisteredConnection) -> None:
        """Adds a connection whose user is not known yet."""
        self._all.add(connection)
        self._unconnected[connection] = None

    def remove(self, connection: RegisteredConnection) -> None:
        """Removes a connection, if it was added."""
        self._all.discard(connection)
        self.stalled.discard(connection)
        self._unconnected.pop(connection, None)

    def make_room(self) -> bool:
        """Cuts the oldest connection whose client has not asked to connect; whether there was one."""
        for connection in islice(self._unconnected, _LOOKED_AT):
            if connection.session.awaits_connect or connection.session.phase is REFUSED:
                del self._unconnected[connection]
                connection.cut()
                return True
        return False

    def stall(self, connection: RegisteredConnection) -> None:
        """Notes that the connection's socket is full."""
        self.stalled.add(connection)

    def flow(self, connection: RegisteredConnection) -> None:
        """Notes that the connection's socket has room again."""
        self.stalled.discard(connection)

    # --- users -------------------------------------------------------------------------------------------------------

    @property
    def users(self) -> int:
        """How many users have a connection here."""
        return len(self._by_user)

    def admit(self, user: str, connection: RegisteredConnection) -> None:
        """Adds the connection to this user's."""
        self._unconnected.pop(connection, None)
        known = self._by_user.get(user)
        if known is None:
            self._by_user[user] = connection
        elif isinstance(known, set):
            known.add(connection)
        elif known is not connection:
            self._by_user[user] = {known, connection}

    def dismiss(self, user: str, connection: RegisteredConnection) -> None:
        """Removes the connection from this user's, if it was added to them."""
        known = self._by_user.get(user)
        if isinstance(known, set):
            known.discard(connection)
            if len(known) == 1:
                self._by_user[user] = known.pop()
        elif known is connection:
            del self._by_user[user]

    def of_user(self, user: str) -> list[RegisteredConnection]:
        """The user's connections, as a copy."""
        known = self._by_user.get(user)
        if known is None:
            return []
        return list(known) if isinstance(known, set) else [known]

    def count_of_user(self, user: str) -> int:
        """How many connections the user has."""
        known = self._by_user.get(user)
        if known is None:
            return 0
        return len(known) if isinstance(known, set) else 1

    # --- HTTP streams ------------------------------------------------------------------------------------------------

    @property
    def streams(self) -> int:
        """How many connections are HTTP streams or SSE."""
        return len(self._streams)

    def add_stream(self, emulation_session: str, connection: RegisteredConnection) -> None:
        """Lets HTTP requests with this secret send commands of the connection from now on."""
        self._streams[emulation_session] = connection

    def remove_stream(self, emulation_session: str) -> None:
        """Removes a secret, if it was added."""
        self._streams.pop(emulation_session, None)

    def stream(self, emulation_session: str) -> RegisteredConnection | None:
        """The connection of this secret."""
        return self._streams.get(emulation_session)
