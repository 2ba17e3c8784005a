"""The commands that wait behind the one in progress, the client's own and those of backends, in order of arrival."""

from __future__ import annotations

from collections import deque
from typing import Final

from proto.commands import Command
from services.edge.session.server_commands import ServerCommand

QUEUED_BYTES_LIMIT: Final = 128 * 1024
"""Bytes of commands that wait. Above this the edge stops reading from the client."""

QUEUED_BYTES_CEILING: Final = 512 * 1024
"""Bytes of commands that wait. Above this, and above two messages of the largest size, the client is closed. A
WebSocket that is not read from stays below; the commands of an HTTP stream are requests of their own, which the edge
cannot hold up."""

SERVER_COMMANDS_LIMIT: Final = 1024
"""Commands of backends that wait for a client that does not read. Above this it is closed as slow."""


class CommandQueue:
    """A queue whose caller checks the bounds. `commands` counts the client's own.

    The bytes of a message count until its last command has been taken.
    """

    __slots__ = ("_items", "commands", "queued_bytes")

    def __init__(self) -> None:
        self._items: deque[tuple[Command, int] | ServerCommand] = deque()
        self.commands = 0
        self.queued_bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def server_commands(self) -> int:
        """How many commands of backends wait."""
        return len(self._items) - self.commands

    def add(self, commands: list[Command], size: int) -> None:
        """Adds the commands of one message of `size` bytes."""
        if not commands:
            return
        last = len(commands) - 1
        self._items.extend([(command, size if place == last else 0) for place, command in enumerate(commands)])
        self.commands += len(commands)
        self.queued_bytes += size

    def add_server_command(self, command: ServerCommand) -> None:
        """Adds a command of a backend."""
        self._items.append(command)

    def take(self) -> Command | ServerCommand:
        """Removes and returns the next one."""
        item = self._items.popleft()
        if isinstance(item, tuple):
            command, size = item
            self.commands -= 1
            self.queued_bytes -= size
            return command
        return item
