"""Options of a namespace that Centrifugo accepts without effect, and an edge refuses. Pure."""

from __future__ import annotations

from typing import Any, Final

from services.chassis.process.settings import Duration

_OF_HISTORY: Final = (
    "history_size",
    "history_ttl",
    "history_meta_ttl",
    "force_positioning",
    "allow_positioning",
    "force_recovery",
    "allow_recovery",
    "allowed_delta_types",
    "auto_cache_recover",
    "delta_publish",
)
_NO_HISTORY: Final = "there is no history without history_size and history_ttl, and nothing to recover"


def adjust(options: dict[str, Any]) -> dict[str, str]:
    """Removes options of one namespace with which an edge would not start. Returns the reasons, by key."""
    ttl = Duration.parse(options.get("history_ttl", 0))
    if not (ttl and options.get("history_size")):
        return _without(options, _OF_HISTORY, _NO_HISTORY)
    if "history_meta_ttl" in options and Duration.parse(options["history_meta_ttl"]) < ttl:
        return _without(options, ("history_meta_ttl",), "positions are known for at least 30 days")
    return {}


def _without(options: dict[str, Any], keys: tuple[str, ...], why: str) -> dict[str, str]:
    gone = [key for key in keys if key in options]
    for key in gone:
        del options[key]
    return dict.fromkeys(gone, why)
