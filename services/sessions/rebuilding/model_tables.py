"""The tables of each read model, and how their rows are told apart. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple


class ModelTable(NamedTuple):
    """A table of a read model. `key` are the columns that tell its rows apart, `began` is the column with the beginning
    of what a row is about.

    `counted`: rows are counts; a count of 0 is the same as no row. `aside`: columns with arbitrary values that only
    tell rows apart; rows are then compared by all other columns, and by how many equal rows there are.
    """

    name: str
    key: tuple[str, ...]
    began: str
    counted: bool = False
    aside: tuple[str, ...] = ()

    @property
    def ended(self) -> str:
        """The SQL for the latest time that a row is about, as far as that is certain: counts and hours cover a range of
        time."""
        if self.counted:
            return f"{self.began} + make_interval(secs => width - 1)"
        lasts = {"hour": "59 minutes 59 seconds", "day": "23 hours 59 minutes 59 seconds"}.get(self.began)
        return self.began if lasts is None else f"{self.began} + interval '{lasts}'"


MODELS: Final[Mapping[str, tuple[ModelTable, ...]]] = {
    "sessions": (
        ModelTable("sessions", ("id", "opened_at"), "opened_at"),
        ModelTable("connections", ("id", "opened_at"), "opened_at"),
        ModelTable("subscriptions", ("connection", "channel", "since", "opened_at"), "opened_at"),
    ),
    "timeline": (ModelTable("timeline", ("connection", "number", "at"), "at"),),
    "users": (ModelTable("user_devices", ("user_id", "session_key", "client_name", "client_version"), "first_seen"),),
    "channels": (
        ModelTable("channels", ("name",), "first_at"),
        ModelTable("channel_hours", ("channel", "hour"), "hour"),
        ModelTable("channel_days", ("channel", "day"), "day"),
    ),
    "drops": (
        ModelTable("drops", ("width", "at", "edge", "code", "by", "client_name", "client_version"), "at", counted=True),
        ModelTable("drop_codes", ("width", "at", "code", "by"), "at", counted=True),
        ModelTable("drop_versions", ("width", "at", "code", "by", "client_name", "client_version"), "at", counted=True),
    ),
    "versions": (
        ModelTable("openings", ("width", "at", "edge", "client_name", "client_version", "resumed"), "at", counted=True),
        ModelTable("opening_versions", ("width", "at", "client_name", "client_version"), "at", counted=True),
    ),
    "refusals": (
        ModelTable("refusal_counts", ("width", "at", "edge", "action", "code"), "at", counted=True),
        ModelTable("refusals", (), "at", aside=("number",)),
    ),
    "edges": (ModelTable("edges", ("instance",), "first_at"),),
}
"""The read models by name."""

ALL: Final = "all"


def models_of(name: str) -> tuple[str, ...]:
    """The models that a name means: itself, or all of them."""
    return tuple(MODELS) if name == ALL else (name,)


def tables_of(name: str) -> tuple[ModelTable, ...]:
    """The tables of these models."""
    return tuple(table for model in models_of(name) for table in MODELS[model])


def models_with(tables: Collection[str]) -> list[str]:
    """The models to which these tables belong."""
    return [model for model, own in MODELS.items() if any(table.name in tables for table in own)]
