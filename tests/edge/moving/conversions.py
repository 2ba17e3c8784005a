"""What a configuration of Centrifugo becomes, for tests."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from services.edge.moving.centrifugo_file import read_options
from services.edge.moving.option_table import read_table
from services.edge.moving.report import Line
from services.edge.moving.translation import Translation


class Converted(NamedTuple):
    """The tables of the edge's configuration, and the lines of the report by option."""

    tables: dict[str, Any]
    lines: dict[str, Line]

    def verdict(self, option: str) -> str:
        return self.lines[option].verdict.value


def converted(tmp_path: Any, now: float = 0, /, **config: Any) -> Converted:
    """The outcome for a configuration with these tables, at this time."""
    file = tmp_path / "config.json"
    file.write_bytes(msgspec.json.encode(config))
    translation = Translation(read_options(file), read_table(), now)
    return Converted(translation.tables(), {line.option: line for line in translation.lines})
