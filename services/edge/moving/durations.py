"""Go's durations, and the error for a value that has no counterpart."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

from services.chassis.process.settings import Duration

_UNIT_S: Final = {
    unit: Decimal(seconds)
    for unit, seconds in {
        "ns": "1e-9",
        "us": "1e-6",
        "µs": "1e-6",
        "ms": "1e-3",
        "s": "1",
        "m": "60",
        "h": "3600",
        "d": "86400",
        "w": "604800",
    }.items()
}
_DURATION: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h|d|w)", re.ASCII)


class NotConvertible(ValueError):
    """The edge's key cannot express the value. The text says why, without the value.

    `taken` is the part of the value that the key can express, None if there is none.
    """

    def __init__(self, why: str, taken: Any = None) -> None:
        super().__init__(why)
        self.taken = taken


def duration(value: Any) -> Any:
    """A Go duration: unchanged if the edge can read it, otherwise in seconds. A number is in nanoseconds."""
    if isinstance(value, str):
        try:
            if not value.isdigit():
                Duration.parse(value)
                return value
        except ValueError:
            pass
        parts = _DURATION.findall(value)
        if "".join(number + unit for number, unit in parts) == value:
            return _plain(sum((Decimal(number) * _UNIT_S[unit] for number, unit in parts), Decimal(0)))
    if isinstance(value, bool) or not re.fullmatch(r"\d+", str(value), re.ASCII):
        raise NotConvertible(
            "expected a duration of 0 or more; what a negative one switches off in Centrifugo is always on here"
        )
    return _plain(int(value) * _UNIT_S["ns"])


def _plain(seconds: Decimal) -> int | float:
    return int(seconds) if seconds == int(seconds) else float(seconds)
