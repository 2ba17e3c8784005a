"""The start of a service's process: settings first, and its parts only if the settings are valid.

A mistake in the settings is thus reported at once, and a process that restarts again and again costs little.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar, cast

from services.chassis.process.log import configure
from services.chassis.process.settings import ConfigurationError, LogSettings

_NEVER_USED: Final = ("aiohttp",)
"""Optional dependencies of libraries that Fairlead does not need. nats-py imports aiohttp, if it is installed, for NATS
over WebSocket. Where a developers' tool has installed it, the import costs each process 110 ms and 8 MB."""


class Settings(Protocol):
    """The settings of any service."""

    @property
    def log(self) -> LogSettings: ...
    @property
    def name(self) -> str: ...


S = TypeVar("S", bound=Settings)


def settings_of(service: str, read: Callable[[Mapping[str, str]], S], environ: Mapping[str, str]) -> S:
    """Reads the settings and sets up the log by them. Exits the process with the reason if they are not valid."""
    try:
        settings = read(environ)
    except ConfigurationError as error:
        sys.exit(f"fairlead-{service}: {error}")
    configure(settings.log, settings.name)
    return settings


def before_imports() -> None:
    """Makes the import of a service's parts cheaper. Call it before that import, in a process that only serves."""
    # Imports make 74,000 objects that stay, and searching them for garbage takes 25 ms. `http.server.run` enables it.
    gc.disable()
    for name in _NEVER_USED:
        cast("dict[str, Any]", sys.modules).setdefault(name, None)  # an import then fails as if it were not installed
