"""The start of a service's process: `python -m services.NAME` serves, and `python -m services.NAME COMMAND` runs a
command.

The settings come first, and the service's parts are loaded only if they are valid. A mistake in them is thus reported
at once, and a process that restarts again and again costs little.
"""

from __future__ import annotations

import gc
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from services.chassis.process.configuration_file import pinned
from services.chassis.process.hangup import HANGUP
from services.chassis.process.log import configure
from services.chassis.process.settings import ConfigurationError, LogSettings, hidden_secrets, where_from

_KEPT_OUT: Final = ("aiohttp",)
"""Optional dependencies of libraries that Fairlead does not use there. nats-py imports aiohttp, if it is installed, for
NATS over WebSocket: the import costs each process 110 ms and 8 MB. See `let_in`."""


class Settings(Protocol):
    """The settings of any service."""

    @property
    def log(self) -> LogSettings: ...
    @property
    def name(self) -> str: ...


S = TypeVar("S", bound=Settings)
T = TypeVar("T")


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Makes `parse`, which raises ValueError, usable as the `type` of an argument: argparse then shows the error's own
    text."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return read


def let_in(module: str) -> None:
    """Permits the import of a module that is kept out, once the libraries that would have imported it are loaded."""
    if module in _KEPT_OUT and sys.modules.get(module, sys) is None:
        del sys.modules[module]


def no_arguments(parser: ArgumentParser) -> None:
    """For a command that takes no arguments."""


@dataclass(frozen=True)
class Command(Generic[S]):
    """What a process does instead of serving: `python -m services.NAME COMMAND`.

    `about` is its line in `--help`. `describe` adds the command's own arguments to its parser; `run` gets the settings
    and these arguments, and exits the process with a reason if it fails. `is_logged`: the command logs what it does, as
    serving does. Other commands print an answer; the log then has only warnings and errors, unless its level is debug.
    """

    about: str
    run: Callable[[S, Namespace], None]
    describe: Callable[[ArgumentParser], None] = no_arguments
    is_logged: bool = False


@dataclass(frozen=True)
class Tool:
    """What a process does without settings, such as creating some. Its fields are those of `Command`."""

    about: str
    run: Callable[[Namespace], None]
    describe: Callable[[ArgumentParser], None] = no_arguments


@dataclass(frozen=True)
class Service(Generic[S]):
    """How the process of one service starts.

    `read` returns its settings, or raises `ConfigurationError`; `cautions` returns sentences about settings that are
    allowed but rarely intended. `serve` loads the service's parts and runs them until a signal; it gets the settings,
    and a function that reads them anew for a reload. Every service has the command `check` besides its own `commands`;
    `tools` read no settings.
    """

    name: str
    read: Callable[[Mapping[str, str]], S]
    serve: Callable[[S, Callable[[], S]], None]
    cautions: Callable[[S], Iterable[str]]
    commands: Mapping[str, Command[S]] = field(default_factory=dict)
    tools: Mapping[str, Tool] = field(default_factory=dict)

    def main(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        """Does what the arguments ask for. Exits with 1 for a mistake in the settings, with 2 for one in the
        arguments."""
        asked = self._parse(arguments)
        if asked.command == "check":
            self._check(environ)
            return
        if asked.command in self.tools:
            self.tools[asked.command].run(asked)
            return
        if asked.command is None:
            HANGUP.hold()  # from before the settings are read, so that no later change of them is missed
        environ = pinned(environ)
        command = None if asked.command is None else self.commands[asked.command]
        settings = self.settings(environ, is_quiet=command is not None and not command.is_logged)
        if command is not None:
            command.run(settings, asked)
            return
        _before_imports()
        self.serve(settings, self._reading(environ))

    def _reading(self, environ: Mapping[str, str]) -> Callable[[], S]:
        """A function that reads the settings anew. If the default file existed once, it must still exist."""

        def read() -> S:
            nonlocal environ
            environ = pinned(environ)
            return self.read(environ)

        return read

    def settings(self, environ: Mapping[str, str], is_quiet: bool = False) -> S:
        """Reads the settings and sets up the log accordingly (for `is_quiet` see `configure`). Exits the process with
        the reason if they are not valid."""
        settings = self._read(environ)
        configure(settings.log, settings.name, is_quiet)
        return settings

    def _read(self, environ: Mapping[str, str]) -> S:
        try:
            return self.read(environ)
        except ConfigurationError as error:
            sys.exit("\n".join([f"fairlead-{self.name}: {mistake}" for mistake in error.mistakes]))

    def _parse(self, arguments: Sequence[str]) -> Namespace:
        program = f"python -m services.{self.name}"
        parser = ArgumentParser(program, description=f"Runs the {self.name} service until SIGTERM, or one command.")
        commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
        commands.add_parser("check", help="read the configuration, say whether it is valid, and start nothing")
        offered: dict[str, Command[S] | Tool] = {**self.commands, **self.tools}
        for name, command in offered.items():
            command.describe(commands.add_parser(name, help=command.about, description=command.about))
        return parser.parse_args(arguments)

    def _check(self, environ: Mapping[str, str]) -> None:
        settings = self._read(environ)
        lines = [f"the configuration of {settings.name} is valid", *where_from(type(settings), environ)]
        cautions = [*hidden_secrets(type(settings), environ), *self.cautions(settings)]
        lines += [f"caution: {caution}" for caution in cautions]
        sys.stdout.write("\n  ".join(lines) + "\n")


def _before_imports() -> None:
    """Makes the import of a service's parts cheaper, in a process that only serves."""
    # Imports make 74,000 objects that stay; searching them for garbage takes 25 ms. `http.server.run` enables it again.
    gc.disable()
    for name in _KEPT_OUT:
        cast("dict[str, Any]", sys.modules).setdefault(name, None)  # an import then fails as if it were not installed
