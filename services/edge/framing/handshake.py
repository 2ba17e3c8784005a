"""The server's side of RFC 6455's opening handshake, without I/O: what a request must be, and the response to it."""

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
    """The upgrade is not accepted; the answer is an HTTP response with this status."""

    def __init__(self, status: str, detail: str, headers: str = "") -> None:
        super().__init__(detail)
        body = f"{detail}\n"
        self.response = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body.encode())}\r\n"
            f"Connection: close\r\n{headers}\r\n{body}"
        ).encode()


class Upgrade(NamedTuple):
    """A well-formed request to open a WebSocket. Header names are lower case, values of repeated ones joined."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def subprotocols(self) -> list[str]:
        return _listed(self.headers.get("sec-websocket-protocol", ""))

    @property
    def extensions(self) -> str:
        return self.headers.get("sec-websocket-extensions", "")


def parse_upgrade(head: bytes) -> Upgrade:
    """The upgrade request in a complete HTTP request head. Raises `HandshakeRefused` (RFC 6455, 4.2.1)."""
    request_line, _, rest = head.decode("latin-1").partition("\r\n")
    method, _, target = request_line.partition(" ")
    target, _, version = target.partition(" ")
    headers = _headers(rest)
    if method != "GET":
        raise HandshakeRefused("405 Method Not Allowed", "a WebSocket is opened with GET", "Allow: GET\r\n")
    if version != "HTTP/1.1":
        raise _bad("a WebSocket is opened with HTTP/1.1")
    if "host" not in headers:
        raise _bad("Host is missing")
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise _bad("a WebSocket is opened by a request without a body")
    if "websocket" not in _listed(headers.get("upgrade", "").lower()):
        raise _bad("Upgrade must be websocket")
    if "upgrade" not in _listed(headers.get("connection", "").lower()):
        raise _bad("Connection must name Upgrade")
    if headers.get("sec-websocket-version") != "13":
        raise HandshakeRefused(
            "426 Upgrade Required", "WebSocket version 13 is spoken here", "Sec-WebSocket-Version: 13\r\n"
        )
    if not _is_key(headers.get("sec-websocket-key", "")):
        raise _bad("Sec-WebSocket-Key must be 16 bytes in base64")
    path, _, query = _without_origin(target).partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_PARAMETERS)
    except ValueError:
        raise _bad("too many query parameters") from None
    return Upgrade(path, dict(pairs), headers)


def accept_response(upgrade: Upgrade, subprotocol: str | None, extension: str = "") -> bytes:
    """The 101 response; `subprotocol` and `extension` are those chosen of what was offered, None and "" for none."""
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


def _headers(lines: str) -> dict[str, str]:
    """Raises `HandshakeRefused` when a header that has one value is there twice: proxies may have read the other."""
    headers: dict[str, str] = {}
    for line in lines.split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon:
            continue
        key = name.lower()
        if key not in headers:
            headers[key] = value.strip()
        elif key in _ONCE:
            raise _bad(f"the header {key} is there twice")
        else:
            headers[key] += f", {value.strip()}"
    return headers


def _listed(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _without_origin(target: str) -> str:
    """The path and query of a request target, which may be a whole address (RFC 9112, 3.2.2)."""
    scheme, mark, rest = target.partition("://")
    if mark and scheme.lower() in ("http", "https"):
        return "/" + rest.partition("/")[2]
    return target
