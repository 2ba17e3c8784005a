"""The command line of `python -m services.edge import-centrifugo`. Each start loads it, so it imports nothing large."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.chassis.process.configuration_file import DEFAULT
from services.chassis.process.launch import Tool

STDOUT: Final = "-"


def _describe(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="the configuration of Centrifugo 6: .json, .yaml, .yml or .toml")
    parser.add_argument(
        "--to",
        default=DEFAULT,
        metavar="FILE",
        help=f"where to write the edge's configuration: {DEFAULT} if left out; the file must not exist yet. {STDOUT}: "
        "to the standard output, and the report to the standard error",
    )


def _import(asked: Namespace) -> None:
    from services.edge.moving.importer import import_centrifugo

    import_centrifugo(asked.file, None if asked.to == STDOUT else Path(asked.to))


TOOLS: Final[Mapping[str, Tool]] = {
    "import-centrifugo": Tool("turn a configuration of Centrifugo 6 into one of the edge", _import, _describe)
}
