"""What each option of Centrifugo 6 becomes: the table `centrifugo_options.toml`, read and looked up."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any, Final

_FILE: Final = "centrifugo_options.toml"


@dataclass(frozen=True, slots=True)
class Kept:
    """The edge's key `target` has the same meaning."""

    target: str


@dataclass(frozen=True, slots=True)
class Fixed:
    """The edge always behaves as with `value`; for any other value, `otherwise` says what to do."""

    value: Any
    otherwise: str


@dataclass(frozen=True, slots=True)
class NotNeeded:
    """An edge does not need such an option; `why` says the reason."""

    why: str


@dataclass(frozen=True, slots=True)
class NotThere:
    """An edge has no such option; `instead` says what to do."""

    instead: str


Row = Kept | Fixed | NotNeeded | NotThere


class OptionTable:
    """The rows by the paths of options, as the first lines of the data file describe them."""

    def __init__(self, text: str) -> None:
        data = tomllib.loads(text)
        self.rows: Mapping[str, Row] = {
            **{name: Kept(name) for name in data["same"]},
            **{name: Kept(target) for name, target in data["renamed"].items()},
            **{name: Fixed(entry["value"], entry["otherwise"]) for name, entry in data["fixed"].items()},
            **{name: NotNeeded(why) for name, why in data["not_needed"].items()},
            **{name: NotThere(instead) for name, instead in data["not_there"].items()},
        }
        self.off_unless_enabled: tuple[str, ...] = tuple(data["off_unless_enabled"]["tables"])
        self.defaults: Mapping[str, Any] = data["defaults"]

    def row(self, option: str) -> Row | None:
        """The row of an option; None if Centrifugo has no such option."""
        best = _best(option, self.rows)
        return self.rows[best] if best else None


def read_table() -> OptionTable:
    """The table that is part of this package."""
    return OptionTable((files(__package__) / _FILE).read_text(encoding="utf-8"))


def _best(option: str, patterns: Iterable[str]) -> str:
    """The longest pattern that matches, "" if none does. An exact match wins over all others."""
    matching = [pattern for pattern in patterns if pattern == option or fnmatchcase(option, pattern)]
    return option if option in matching else max(matching, key=len, default="")
