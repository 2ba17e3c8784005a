"""Turns values of Centrifugo's proxies into those of backends."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from services.chassis.process.settings import Duration
from services.edge.backend_settings import BackendSettings, StatusToCode
from services.edge.hook_settings import COMMAND_DEADLINE_S
from services.edge.moving.durations import NotConvertible, duration

_LONGEST: Final = "4.4s"
"""The longest timeout that a backend may have."""
_GRPC: Final = "grpc://"
_HALVES: Final = ("to_error", "to_disconnect")
_PEM: Final = "-----BEGIN"


def is_grpc(endpoint: Any) -> bool:
    """Whether a proxy with this address is asked over gRPC."""
    return str(endpoint).startswith(_GRPC)


def _endpoint(value: Any) -> tuple[Any, str]:
    if is_grpc(value):
        raise NotConvertible("gRPC is not supported: a backend is asked over HTTP, or on NATS")
    if mistake := _mistake_of_backend(url=str(value)):
        raise NotConvertible(f"a backend is asked over HTTP, or on NATS; {mistake}")
    return value, ""


def _timeout(value: Any) -> tuple[Any, str]:
    made = duration(value)
    if Duration.parse(made) < COMMAND_DEADLINE_S:
        return made, ""
    return _LONGEST, f"{_LONGEST}, as SDKs give up after 5 s"


def _headers(value: Any) -> tuple[Any, str]:
    names = value.split() if isinstance(value, str) else value
    if not isinstance(names, list):
        raise NotConvertible("expected a list of names")
    return _taken(names, lambda name: _mistake_of_backend(http_headers=[str(name)]))


def _static_headers(value: Any) -> tuple[Any, str]:
    if not isinstance(value, dict):
        raise NotConvertible("expected a table of headers")
    headers = {name: str(each) for name, each in value.items()}
    names, says = _taken(list(headers), lambda name: _mistake_of_backend(static_headers={name: headers[name]}))
    return {name: headers[name] for name in names}, says


def _taken(names: list[Any], mistake_of: Callable[[Any], str]) -> tuple[list[Any], str]:
    """The names of headers that a backend may get, and a remark on the others."""
    mistakes = {name: mistake for name in names if (mistake := mistake_of(name))}
    return [name for name in names if name not in mistakes], "; ".join(mistakes.values())


def _mistake_of_backend(**options: Any) -> str:
    """Why a backend cannot have these options, "" if it can."""
    try:
        BackendSettings(**({"name": "backend", "url": "http://backend"} | options))
    except ValueError as error:
        return str(error)
    return ""


def _transforms(value: Any) -> tuple[Any, str]:
    """The transforms without halves that are empty: Centrifugo's file of all defaults has both halves. The first
    transform for a status counts."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise NotConvertible("expected a list of tables")
    made: dict[Any, dict[str, Any]] = {}
    said = []
    for each in value:
        entry = {key: part for key, part in each.items() if key not in _HALVES}
        entry |= {key: dict(each[key]) for key in _HALVES if isinstance(each.get(key), dict) and each[key].get("code")}
        if "to_disconnect" in entry and not entry["to_disconnect"].get("reason"):
            entry["to_disconnect"]["reason"] = f"status {each.get('status_code')}"  # an edge requires a reason
        try:
            made.setdefault(msgspec.convert(entry, StatusToCode).status_code, entry)
        except msgspec.ValidationError as error:
            said.append(f"without status {each.get('status_code')}: {error}")
    return list(made.values()), "; ".join(said)


def _pem_file(value: Any) -> tuple[Any, str]:
    """A path. Centrifugo also takes the PEM text itself, plain or in base64; an edge does not."""
    text = str(value)
    try:
        decoded = binascii.a2b_base64(text, strict_mode=True).decode("latin-1")
    except ValueError:
        decoded = ""
    if _PEM in text or _PEM in decoded:
        raise NotConvertible("write the PEM into a file, and name the file")
    return text, ""


OF_PROXIES: Final[Mapping[str, Callable[[Any], tuple[Any, str]]]] = {
    "proxy.endpoint": _endpoint,
    "proxy.timeout": _timeout,
    "proxy.http_headers": _headers,
    "proxy.emulated_headers": _headers,
    "proxy.http.static_headers": _static_headers,
    "proxy.http.status_to_code_transforms": _transforms,
    **{
        f"{table}.{key}": _pem_file
        for table in ("broker.nats.tls", "proxy.http.tls")
        for key in ("server_ca_pem", "cert_pem", "key_pem")
    },
}
"""Converters by option. Each returns the value and a remark, "" for none, or raises `NotConvertible`."""
