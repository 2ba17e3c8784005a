"""Encodes what an edge asks a backend: JSON in Centrifugo's shapes. Pure.

docs/hooks.md describes every question; tests/docs compares its examples with this module. Fields without a value are
left out.
"""

from __future__ import annotations

from typing import Any, Final

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
    method: str = ""
    data: Raw = NO_DATA
    b64data: bytes = b""
    meta: Raw = NO_DATA
    name: str = ""
    version: str = ""
    headers: dict[str, str] = {}
    channels: list[str] = []
    address: str = ""
    user_agent: str = ""
    origin: str = ""


class QuestionForm(Struct, frozen=True):
    """What a question contains. `meta`: the connection's meta; `headers`: the emulated headers, in the body of the
    connect question; `binary`: payloads are always in base64; `arrival`: where the client comes from, in the body of
    the connect question, which Centrifugo does not send.
    """

    meta: bool = True
    headers: bool = True
    binary: bool = False
    arrival: bool = True


PLAIN: Final = QuestionForm()
"""The form of questions to the backend `nats`, which has no table in the settings."""

_encode = Encoder().encode


def connect_question(caller: Caller, request: ConnectRequest, form: QuestionForm = PLAIN) -> bytes:
    """May this client connect? `caller.user` is the user of its token, "" without a token."""
    headers = request.headers if form.headers else {}
    told = {"name": request.name, "version": request.version, "headers": headers, "channels": list(request.subs)}
    if form.arrival:
        came = caller.arrival
        told |= {"address": came.address, "user_agent": came.user_agent, "origin": came.origin}
    return _question(caller, caller.user or UNSET, bytes(request.data), form, **told)


def subscribe_question(caller: Caller, channel: str, data: bytes, form: QuestionForm = PLAIN) -> bytes:
    """May this client subscribe? `data` is the data of the subscribe command."""
    return _question(caller, caller.user, data, form, channel=channel)


def publish_question(caller: Caller, channel: str, data: bytes, form: QuestionForm = PLAIN) -> bytes:
    """May this client publish `data`?"""
    return _question(caller, caller.user, data, form, channel=channel)


def refresh_question(caller: Caller, form: QuestionForm = PLAIN) -> bytes:
    """May this client stay connected, now that it expires?"""
    return _question(caller, caller.user, b"", form)


def sub_refresh_question(caller: Caller, channel: str, form: QuestionForm = PLAIN) -> bytes:
    """May this client stay subscribed, now that its subscription expires?"""
    return _question(caller, caller.user, b"", form, channel=channel)


def rpc_question(caller: Caller, method: str, data: bytes, form: QuestionForm) -> bytes:
    """A client's RPC, for a backend that gets the method in the question."""
    return _question(caller, caller.user, data, form, method=method)


def _question(caller: Caller, user: str | UnsetType, data: bytes, form: QuestionForm, **more: Any) -> bytes:
    embedded, other = NO_DATA, b""
    if form.binary:
        other = data
    elif data:
        try:
            embedded = payload(data)
        except ValueError:
            other = data
    return _encode(
        _Question(
            client=caller.client,
            transport=caller.transport,
            protocol=caller.encoding,
            encoding="binary" if other or form.binary else "json",
            user=user,
            data=embedded,
            b64data=other,
            meta=caller.meta if form.meta and bytes(caller.meta) else NO_DATA,
            **more,
        )
    )
