"""Imports a configuration of Centrifugo: writes the edge's, and says what became of each option."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final

from services.chassis.process.configuration_file import CONFIG_VARIABLE
from services.chassis.process.settings import ConfigurationError
from services.edge.configuration import from_environ
from services.edge.moving.centrifugo_file import read_options
from services.edge.moving.option_table import read_table
from services.edge.moving.report import report
from services.edge.moving.toml_text import toml_text
from services.edge.moving.translation import Translation

_BEHIND_A_PROXY: Final = (
    "behind a proxy or a balancer: name its addresses in edge.trusted_proxies, or all clients have one address for "
    "limits"
)
_MODE: Final = 0o600
"""Of the file, as it may hold secrets."""


def import_centrifugo(file: Path, to: Path | None) -> None:
    """Writes what `file` becomes into the new file `to`, None: to the standard output; and reports on each option.

    Exits the process with the reason if `file` cannot be read, or `to` cannot be made.
    """
    try:
        options = read_options(file)
        translation = Translation(options, read_table(), time.time())
    except ValueError as error:
        sys.exit(f"fairlead-edge: {error}")
    text = toml_text(translation.tables(), f"Written by import-centrifugo from {file.name}.")
    lines = [f"{file}: {len(options)} options", *report(translation.lines)]
    if to is None:
        sys.stdout.write(text)
        sys.stderr.write("\n".join([*lines, _BEHIND_A_PROXY]) + "\n")
        return
    _write(to, text)
    sys.stdout.write("\n".join([*lines, _BEHIND_A_PROXY, *_checked(to)]) + "\n")


def _write(path: Path, text: str) -> None:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        sys.exit(f"fairlead-edge: {path} exists: name another file with --to")
    except OSError as error:
        sys.exit(f"fairlead-edge: {path} cannot be written: {error.strerror}")


def _checked(path: Path) -> list[str]:
    """Whether an edge takes the file as it is, without any variable."""
    try:
        from_environ({CONFIG_VARIABLE: str(path)})
    except ConfigurationError as error:
        return [f"written to {path}; before an edge starts:", *(f"  {mistake}" for mistake in error.mistakes)]
    return [f"written to {path}, which is valid"]
