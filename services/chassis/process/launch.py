"""The beginning of a service's process: its settings first, its parts only when they are right.

A mistake in the settings is told at once, and a process that starts over and over costs little.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar, cast

from services.chassis.process.log import configure
from services.chassis.process.settings import ConfigurationError, LogSettings

_NEVER_USED: Final = ("aiohttp",)
"""What libraries load if it is there, and do without if it is not. nats-py wants aiohttp for NATS over WebSocket, which
we do not speak; where a tool for developers brought it, it costs each process 110 ms and 8 MB."""


class Settings(Protocol):
    """What all services' settings have."""

    @property
    def log(self) -> LogSettings: ...
    @property
    def name(self) -> str: ...


S = TypeVar("S", bound=Settings)


def settings_of(service: str, read: Callable[[Mapping[str, str]], S], environ: Mapping[str, str]) -> S:
    """The settings, with the log set up as they say. Exits with what is wrong when they cannot be used."""
    try:
        settings = read(environ)
    except ConfigurationError as error:
        sys.exit(f"fairlead-{service}: {error}")
    configure(settings.log, settings.name)
    return settings


def before_imports() -> None:
    """To be called before the parts of a service are imported: makes that cheaper, in a process that only serves."""
    # What is imported stays: to look for garbage among 74,000 new objects costs 25 ms. `server.run` switches it on.
    gc.disable()
    for name in _NEVER_USED:
        cast("dict[str, Any]", sys.modules).setdefault(name, None)  # an import of it fails as if it were not there
