"""What a backend with a table in the settings gets: the headers of questions, which are the operator's own and the
client's headers that the allow-lists name; and the form of the body. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from proto import codes, signature
from services.edge.arrival import NO_HEADERS, Kept
from services.edge.backend.backend import Caller
from services.edge.backend.hook_questions import QuestionForm
from services.edge.backend_settings import PROXY_HEADERS, BackendSettings
from services.edge.client_settings import ClientSection
from services.edge.rejection import Rejected

MAX_EMULATED_LENGTH: Final = 8192
"""Characters of all emulated headers of one client, which are kept as long as it is connected. Tokens of identity
providers have up to a few thousand characters."""

_CONTROL: Final = re.compile(r"[^\t -~\x80-\U0010ffff]|[\x80-\x9f\ud800-\udfff]")


def emulated(given: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    """The headers of a connect command that are in `names`, which are in lower case: clients write anything there.

    Values that no header could have are left out. Raises `Rejected` for more than `MAX_EMULATED_LENGTH` characters: if
    a token were left out, the backend would refuse the client, and nobody would know why.
    """
    if not names or not given:
        return NO_HEADERS
    kept: dict[str, str] = {}
    room = MAX_EMULATED_LENGTH
    for name, value in given.items():
        if (name := name.lower()) in names and name not in kept and not _CONTROL.search(value):
            room -= len(value)
            if room < 0:
                why = f"the headers of the connect have more than {MAX_EMULATED_LENGTH} characters"
                raise Rejected(codes.LIMIT_EXCEEDED, why)
            kept[name] = value.strip()
    return kept or NO_HEADERS


def wanted(backends: Iterable[BackendSettings]) -> frozenset[str]:
    """The names of request headers that any of these backends gets, in lower case."""
    return frozenset(name.lower() for backend in backends for name in backend.http_headers)


def wanted_emulated(backends: Iterable[BackendSettings]) -> frozenset[str]:
    """The same for emulated headers."""
    return frozenset(name.lower() for backend in backends for name in backend.emulated_headers)


def kept(client: ClientSection, backends: Iterable[BackendSettings]) -> Kept:
    """What the edge keeps of clients' requests, as these settings require."""
    headers = wanted(backends)
    request = client.connect_hook or bool(client.session_event_details)
    return Kept(request, headers, headers & (PROXY_HEADERS | {client.user_id_http_header.lower()}))


def form_of(settings: BackendSettings) -> QuestionForm:
    """The form of questions to this backend. Emulated headers are sent as headers, and not in bodies."""
    meta, request = settings.include_connection_meta, settings.include_client_request
    return QuestionForm(meta, headers=False, binary=settings.binary_encoding, arrival=request)


class QuestionHeaders:
    """The headers of questions to one backend. `of_http` are the headers that HTTP itself needs; none on NATS."""

    def __init__(self, settings: BackendSettings, of_http: Mapping[str, str] = NO_HEADERS) -> None:
        self._own = {**of_http, **settings.static_headers}
        self._secret = settings.secret
        self._of_request = [(name.lower(), name) for name in settings.http_headers]
        self._emulated = [(name.lower(), name) for name in settings.emulated_headers]

    def of(self, caller: Caller | None, question: bytes, unix: float) -> dict[str, str]:
        """The headers of this question at `unix`. A request header wins over an emulated header of the same name."""
        headers = dict(self._own)
        if caller is not None:
            given: dict[str, tuple[str, str]] = {}
            for lower, name in self._emulated:
                if lower in caller.emulated:
                    given[lower] = name, caller.emulated[lower]
            for lower, name in self._of_request:
                if value := caller.arrival.headers.get(lower, ""):
                    given[lower] = name, _as_sent(value)
            if "user-agent" in given:
                headers.pop("User-Agent", None)
            headers.update(given.values())
        if self._secret:
            headers[signature.HEADER] = signature.sign(self._secret, int(unix), question)
        return headers


def _as_sent(value: str) -> str:
    """The text whose UTF-8 encoding is the bytes that the client sent; invalid UTF-8 is replaced."""
    text = value if value.isascii() else value.encode("latin-1", "replace").decode("utf-8", "replace")
    return _CONTROL.sub("", text)
