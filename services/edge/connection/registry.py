"""The connections of this edge: all of them, those of each user, and those that HTTP requests name by a secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from proto.codes import CloseCode
from services.edge.session.server_commands import ServerCommand
from services.edge.session.session import Session


class RegisteredConnection(Protocol):
    """What others of this edge do with a connection."""

    session: Session

    def message_received(self, message: bytes) -> None:
        """Takes a frame of commands."""

    def server_command(self, command: ServerCommand) -> None:
        """Takes a command of a backend, behind those that wait."""

    def leave(self, close: CloseCode) -> None:
        """Closes once the command in progress is answered."""

    def close(self, close: CloseCode, detail: str = "") -> None:
        """Closes now."""

    def cut(self) -> None:
        """Closes without waiting for the client."""


class ConnectionRegistry:
    """Connections add themselves when they are made, and remove themselves when their transport is gone.

    A set for a user costs 200 bytes, so the only connection of a user goes without. Anonymous ones have the user "".
    """

    def __init__(self) -> None:
        self._all: set[RegisteredConnection] = set()
        self._by_user: dict[str, RegisteredConnection | set[RegisteredConnection]] = {}
        self._streams: dict[str, RegisteredConnection] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[RegisteredConnection]:
        """A copy: what is done to connections may remove them."""
        return iter(tuple(self._all))

    def add(self, connection: RegisteredConnection) -> None:
        """Adds a connection, of which nobody knows yet whose it is."""
        self._all.add(connection)

    def remove(self, connection: RegisteredConnection) -> None:
        """Forgets a connection. An unknown one is fine."""
        self._all.discard(connection)

    # --- users -------------------------------------------------------------------------------------------------------

    @property
    def users(self) -> int:
        """How many users have a connection here."""
        return len(self._by_user)

    def admit(self, user: str, connection: RegisteredConnection) -> None:
        """The connection is this user's."""
        known = self._by_user.get(user)
        if known is None:
            self._by_user[user] = connection
        elif isinstance(known, set):
            known.add(connection)
        elif known is not connection:
            self._by_user[user] = {known, connection}

    def dismiss(self, user: str, connection: RegisteredConnection) -> None:
        """The connection is not this user's any more. One that never was is fine."""
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
        """Requests with this secret speak for the connection."""
        self._streams[emulation_session] = connection

    def remove_stream(self, emulation_session: str) -> None:
        """They do so no more. An unknown secret is fine."""
        self._streams.pop(emulation_session, None)

    def stream(self, emulation_session: str) -> RegisteredConnection | None:
        """The connection of this secret."""
        return self._streams.get(emulation_session)
