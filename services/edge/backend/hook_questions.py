"""Encodes what an edge asks a backend on `hook.<event>`: JSON in Centrifugo's shapes. Pure.

docs/hooks.md describes every question; tests/docs compares its examples with this module. Fields without a value are
left out.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.json import Encoder

from proto.codec import payload
from proto.commands import ConnectRequest
from proto.messages import NO_DATA
from services.edge.backend.backend import Caller


class _Question(Struct, frozen=True, omit_defaults=True):
    client: str
    transport: str
    protocol: str
    encoding: str
    user: str | UnsetType
    channel: str | UnsetType = UNSET
    data: Raw = NO_DATA
    b64data: bytes = b""
    meta: Raw = NO_DATA
    name: str = ""
    version: str = ""
    headers: dict[str, str] = {}


_encode = Encoder().encode


def connect_question(caller: Caller, request: ConnectRequest) -> bytes:
    """May this client connect? `caller.user` is the user of its token, "" without one."""
    told = {"name": request.name, "version": request.version, "headers": request.headers}
    return _question(caller, caller.user or UNSET, bytes(request.data), **told)


def subscribe_question(caller: Caller, channel: str, data: bytes) -> bytes:
    """May this client subscribe? `data` is the subscribe command's."""
    return _question(caller, caller.user, data, channel=channel)


def publish_question(caller: Caller, channel: str, data: bytes) -> bytes:
    """May this client publish `data`?"""
    return _question(caller, caller.user, data, channel=channel)


def refresh_question(caller: Caller) -> bytes:
    """May this client stay connected, now that it expires?"""
    return _question(caller, caller.user)


def _question(caller: Caller, user: str | UnsetType, data: bytes = b"", **more: Any) -> bytes:
    embedded, other = NO_DATA, b""
    if data:
        try:
            embedded = payload(data)
        except ValueError:
            other = data
    return _encode(
        _Question(
            client=caller.client,
            transport=caller.transport,
            protocol=caller.encoding,
            encoding="binary" if other else "json",
            user=user,
            data=embedded,
            b64data=other,
            meta=caller.meta if bytes(caller.meta) else NO_DATA,
            **more,
        )
    )
