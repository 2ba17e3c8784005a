"""The server's side of RFC 6455's opening handshake, without I/O: checks a request, and makes the response."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_ONCE: Final = ("host", "origin", "sec-websocket-key", "sec-websocket-version")
MAX_QUERY_PARAMETERS: Final = 64


class HandshakeRefused(Exception):
    """The upgrade is refused. `response` is the HTTP response to send, with this status; `cause` is for metrics and for
    the session log."""

    def __init__(self, status: str, detail: str, headers: str = "", cause: str = "bad_request") -> None:
        super().__init__(detail)
        self.cause = cause
        self.status = int(status.partition(" ")[0])
        body = f"{detail}\n"
        self.response = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body.encode())}\r\n"
            f"Connection: close\r\n{headers}\r\n{body}"
        ).encode()


class Upgrade(NamedTuple):
    """A well-formed request to open a WebSocket. Header names are in lower case; values of repeated ones are joined."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]

    def header(self, name: str) -> str:
        """The value of a header, "" without one."""
        return self.headers.get(name, "")

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offers."""
        return _listed(self.headers.get("sec-websocket-protocol", ""))

    @property
    def extensions(self) -> str:
        """The extensions that the client offers, as in the header."""
        return self.headers.get("sec-websocket-extensions", "")


def parse_upgrade(head: bytes, once: str = "") -> Upgrade:
    """The upgrade request in a complete HTTP request head. Raises `HandshakeRefused` (RFC 6455, 4.2.1), also if the
    additional header `once` (in lower case) is repeated.
    """
    request_line, _, rest = head.decode("latin-1").partition("\r\n")
    method, _, target = request_line.partition(" ")
    target, _, version = target.partition(" ")
    headers = _headers(rest, (*_ONCE, once))
    if method != "GET":
        raise HandshakeRefused("405 Method Not Allowed", "expected GET", "Allow: GET\r\n")
    if version != "HTTP/1.1":
        raise _bad("expected HTTP/1.1")
    if "host" not in headers:
        raise _bad("expected the header Host")
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise _bad("expected a request without a body")
    if "websocket" not in _listed(headers.get("upgrade", "").lower()):
        raise _bad("expected Upgrade: websocket")
    if "upgrade" not in _listed(headers.get("connection", "").lower()):
        raise _bad("expected Connection: Upgrade")
    if headers.get("sec-websocket-version") != "13":
        version = "Sec-WebSocket-Version: 13\r\n"
        raise HandshakeRefused("426 Upgrade Required", "expected WebSocket version 13", version, "unsupported_version")
    if not _is_key(headers.get("sec-websocket-key", "")):
        raise _bad("expected a Sec-WebSocket-Key of 16 bytes in base64")
    path, _, query = _without_origin(target).partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_PARAMETERS)
    except ValueError:
        raise _bad(f"expected at most {MAX_QUERY_PARAMETERS} query parameters") from None
    return Upgrade(path, dict(pairs), headers)


def accept_response(upgrade: Upgrade, subprotocol: str | None, extension: str = "") -> bytes:
    """The 101 response. `subprotocol` and `extension` were chosen from the client's offers; None and "" for none."""
    digest = hashlib.sha1(upgrade.headers["sec-websocket-key"].encode() + _GUID, usedforsecurity=False).digest()
    extra = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    if extension:
        extra += f"Sec-WebSocket-Extensions: {extension}\r\n"
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + base64.b64encode(digest)
        + f"\r\n{extra}\r\n".encode()
    )


def _bad(detail: str) -> HandshakeRefused:
    return HandshakeRefused("400 Bad Request", detail)


def _headers(lines: str, once: tuple[str, ...]) -> dict[str, str]:
    """Raises `HandshakeRefused` if a header that must be single is repeated: a proxy may have read the other value."""
    headers: dict[str, str] = {}
    for line in lines.split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon:
            continue
        key = name.lower()
        if key not in headers:
            headers[key] = value.strip()
        elif key in once:
            raise _bad(f"expected the header {key} once")
        else:
            headers[key] += f"{separator(key)}{value.strip()}"
    return headers


def separator(name: str) -> str:
    """The separator that joins the values of a repeated header; `name` is in lower case. A proxy that speaks HTTP/2
    with a browser gets its cookies in several headers, and may pass them on like that (RFC 9113, 8.2.3)."""
    return "; " if name == "cookie" else ", "


def _listed(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _without_origin(target: str) -> str:
    """The path and query of a request target, which may be an absolute address (RFC 9112, 3.2.2)."""
    scheme, mark, rest = target.partition("://")
    if mark and scheme.lower() in ("http", "https"):
        return "/" + rest.partition("/")[2]
    return target
