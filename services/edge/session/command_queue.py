"""The commands that wait, the client's own and those of backends, in order of arrival; and the RPCs that wait apart."""

from __future__ import annotations

from collections import deque
from typing import Final

from proto.commands import Command
from services.edge.session.actions import CallBackend
from services.edge.session.server_commands import ServerCommand

QUEUED_BYTES_LIMIT: Final = 128 * 1024
"""Bytes of commands that wait. Above this the edge stops reading from the client."""

QUEUED_BYTES_CEILING: Final = 512 * 1024
"""Bytes of commands that wait. Above this, and above two messages of the largest size, the client is closed. A
WebSocket stays below, as the edge stops reading from it; the commands of an HTTP stream come in separate requests,
which the edge cannot hold back."""

SERVER_COMMANDS_LIMIT: Final = 1024
"""Commands of backends that wait for a client that does not read. Above this, the client is closed as slow."""


class CommandQueue:
    """A queue whose caller checks the bounds. `commands` counts the client's own, with the RPCs that were set aside.

    The bytes of a message count until its last command has been taken, those of an RPC that was set aside until it is
    called.
    """

    __slots__ = ("_calls", "_items", "commands", "queued_bytes")

    def __init__(self) -> None:
        self._items: deque[tuple[Command, int] | ServerCommand] = deque()
        self._calls: deque[CallBackend] = deque()
        self.commands = 0
        self.queued_bytes = 0

    def __len__(self) -> int:
        return len(self._items) + len(self._calls)

    @property
    def calls(self) -> int:
        """How many RPCs wait apart."""
        return len(self._calls)

    @property
    def server_commands(self) -> int:
        """How many commands of backends wait."""
        return len(self) - self.commands

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

    def take(self) -> Command | ServerCommand | None:
        """Removes and returns the next command; None if only RPCs wait."""
        if not self._items:
            return None
        item = self._items.popleft()
        if isinstance(item, tuple):
            command, size = item
            self.commands -= 1
            self.queued_bytes -= size
            return command
        return item

    def set_aside(self, call: CallBackend) -> None:
        """Lets an RPC wait apart, so that the commands after it need not wait."""
        self._calls.append(call)
        self.commands += 1
        self.queued_bytes += len(call.data)

    def take_call(self) -> CallBackend:
        """Removes and returns the RPC that has waited longest. Raises IndexError if there is none."""
        call = self._calls.popleft()
        self.commands -= 1
        self.queued_bytes -= len(call.data)
        return call
