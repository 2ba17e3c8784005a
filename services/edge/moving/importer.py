"""Imports a configuration of Centrifugo: writes the edge's configuration, and reports what became of each option."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from services.chassis.process.configuration_file import CONFIG_VARIABLE, DEFAULT
from services.chassis.process.settings import ConfigurationError
from services.edge.configuration import from_environ
from services.edge.moving.centrifugo_file import read_options
from services.edge.moving.option_table import read_table
from services.edge.moving.report import report
from services.edge.moving.toml_text import toml_text
from services.edge.moving.translation import Translation

_BEHIND_A_PROXY: Final = (
    "behind a proxy or a load balancer: name its addresses in edge.trusted_proxies, or limits count all clients as one "
    "address"
)
_SHOWN: Final = 3
_MODE: Final = 0o600
"""The mode of the file, as it may hold secrets."""


def import_centrifugo(file: Path, to: Path | None) -> None:
    """Converts `file`, writes the result to the new file `to` (None: the standard output), and reports on each option.

    Exits the process with the reason if `file` cannot be read or is from an older version, or if `to` cannot be made;
    and with 1 if an edge would not start with the result.
    """
    try:
        options = read_options(file)
        translation = Translation(options, read_table(), time.time())
    except ValueError as error:
        sys.exit(f"fairlead-edge: {error}")
    if older := translation.of_an_older_version:
        sys.exit(
            f"fairlead-edge: {file} is from Centrifugo 5 or older, as it has {_some(older)}: convert it to version 6 "
            "first, with the converter on Centrifugo's site; nothing was written"
        )
    text = toml_text(translation.tables(), f"Written by import-centrifugo from {file.name}.")
    lines = [f"{file}: {len(options)} options", *report(translation.lines)]
    if to is None:
        sys.stdout.write(text)
        mistakes = _mistakes_in(text)
        outcome = _outcome("printed the configuration", mistakes)
        sys.stderr.write("\n".join([*lines, _BEHIND_A_PROXY, *outcome]) + "\n")
    else:
        _write(to, text)
        mistakes = _mistakes(to)
        outcome = _outcome(f"written to {to}", mistakes)
        sys.stdout.write("\n".join([*lines, _BEHIND_A_PROXY, *outcome]) + "\n")
    if mistakes:
        sys.exit(1)


def _some(options: list[str]) -> str:
    """The first few of these, and how many more there are."""
    shown = ", ".join(options[:_SHOWN])
    return f"{shown} and {len(options) - _SHOWN} more" if len(options) > _SHOWN else shown


def _write(path: Path, text: str) -> None:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        sys.exit(f"fairlead-edge: {path} exists: name another file with --to")
    except OSError as error:
        sys.exit(f"fairlead-edge: {path} cannot be written: {error.strerror}")


def _mistakes_in(text: str) -> list[str]:
    """The same as `_mistakes`, for a configuration that is not in a file."""
    try:
        with TemporaryDirectory() as folder:
            path = Path(folder, DEFAULT)
            path.write_text(text, encoding="utf-8")
            return [mistake.replace(str(path), DEFAULT) for mistake in _mistakes(path)]
    except OSError as error:
        return [f"it could not be checked, as no temporary file can be made: {error.strerror}"]


def _mistakes(path: Path) -> list[str]:
    """Why an edge does not start with the file as it is, without any environment variable."""
    try:
        from_environ({CONFIG_VARIABLE: str(path)})
    except ConfigurationError as error:
        return list(error.mistakes)
    return []


def _outcome(done: str, mistakes: list[str]) -> list[str]:
    if mistakes:
        return [f"{done}; correct this before you start an edge:", *(f"  {mistake}" for mistake in mistakes)]
    return [f"{done}, which is valid"]
