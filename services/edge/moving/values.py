"""Turns values of Centrifugo's options into those of the edge's keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from services.chassis.process.settings import Duration, Rate, is_http_address
from services.edge.channel_settings import DATA_FORMATS
from services.edge.origins import check_pattern

_LEVELS: Final = {"trace": "debug", "warn": "warning", "fatal": "error", "none": "error"}
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
_NOT_PYTHONS: Final = re.compile(r"\[\[:|\\z|\\[pP]|\\Q|\\C")
"""What Go's regular expressions have and Python's have not, or read differently."""


class NotConvertible(ValueError):
    """The edge's key cannot say what the value says. The text tells why, without the value."""


def convert(option: str, value: Any, kind: Any) -> tuple[Any, str]:
    """The value for the key of the type `kind` that `option` becomes, and what there is to say about it ("": nothing).

    Raises `NotConvertible`.
    """
    if option in _OF_OPTIONS:
        return _OF_OPTIONS[option](value)
    if kind is Duration:
        return _duration(value), ""
    if kind == list[str] and isinstance(value, str):  # Centrifugo splits it
        value = value.split()
    try:
        made = msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise NotConvertible(f"this edge does not take the value: {error}") from None
    return value if isinstance(value, list | dict) else msgspec.to_builtins(made), ""


def _duration(value: Any) -> Any:
    """A duration of Go as it is, if the edge reads it too, else in seconds; a number is of nanoseconds."""
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
        raise NotConvertible("expected a duration of 0 or more; what it switches off in Centrifugo is always on here")
    return _plain(int(value) * _UNIT_S["ns"])


def _plain(seconds: Decimal) -> int | float:
    return int(seconds) if seconds == int(seconds) else float(seconds)


def _ping_interval(value: Any) -> tuple[Any, str]:
    if str(value).startswith("-"):
        return 0, "0 switches pings off"
    return _duration(value), ""


def _level(value: Any) -> tuple[Any, str]:
    level = _LEVELS.get(str(value), str(value))
    return level, f'as "{level}"' if level != value else ""


def _address(value: Any) -> tuple[Any, str]:
    return str(value) or "0.0.0.0", "" if value else "all addresses, as in Centrifugo: 0.0.0.0"


def _per_second(value: Any) -> tuple[Any, str]:
    rate = f"{value}/1s" if value else "0"
    try:
        Rate.parse(rate)
    except ValueError as error:
        raise NotConvertible(str(error)) from None
    return rate, ""


def _concurrency(value: Any) -> tuple[Any, str]:
    says = "of RPCs: other commands run one by one"
    return (max(value, 1) if isinstance(value, int) else value), says


def _origins(value: Any) -> tuple[Any, str]:
    patterns = value.split() if isinstance(value, str) else value
    for pattern in patterns:
        try:
            check_pattern(pattern)
        except ValueError as error:
            raise NotConvertible(f"only * is special here; write each origin: {error}") from None
    return patterns, ""


def _regex(value: Any) -> tuple[Any, str]:
    """An expression that matches as a whole what Go finds somewhere in the text."""
    pattern = str(value)
    if not pattern:
        return "", ""
    whole = pattern.startswith("^") and pattern.endswith("$") and not pattern.endswith(r"\$") and "|" not in pattern
    mine = pattern if whole else f"(?s:.*)(?:{pattern})(?s:.*)"
    if re.search(r"\\[dDwWsSbB]", pattern):
        mine = f"(?a){mine}"
    try:
        if _NOT_PYTHONS.search(pattern):
            raise re.error("Go's own classes")
        re.compile(mine)
    except re.error as error:
        raise NotConvertible(f"write it as a regular expression of Python, for the whole text: {error}") from None
    return mine, "" if mine == pattern else "as an expression for the whole text"


def _data_format(value: Any) -> tuple[Any, str]:
    if value == "binary" and value not in DATA_FORMATS:
        return "", 'as "", which lets anything pass'
    return value, ""


def _endpoint(value: Any) -> tuple[Any, str]:
    if not is_http_address(str(value)):
        raise NotConvertible("backends are asked over HTTP, or answer on NATS: give yours an address of HTTP")
    return value, ""


def _transforms(value: Any) -> tuple[Any, str]:
    """Without the half that says nothing, as the file of all defaults has both."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise NotConvertible("expected a list of tables")
    halves = ("to_error", "to_disconnect")
    return [
        {key: part for key, part in each.items() if key not in halves or (isinstance(part, dict) and part.get("code"))}
        for each in value
    ], ""


_OF_OPTIONS: Final[Mapping[str, Callable[[Any], tuple[Any, str]]]] = {
    "log.level": _level,
    "http_server.address": _address,
    "client.allowed_origins": _origins,
    "client.ping_interval": _ping_interval,
    "client.concurrency": _concurrency,
    "client.connection_rate_limit": _per_second,
    "channel.publication_data_format": _data_format,
    "namespace.publication_data_format": _data_format,
    "namespace.channel_regex": _regex,
    "client.token.audience_regex": _regex,
    "client.token.issuer_regex": _regex,
    "client.subscription_token.audience_regex": _regex,
    "client.subscription_token.issuer_regex": _regex,
    "proxy.endpoint": _endpoint,
    "proxy.http.status_to_code_transforms": _transforms,
}
