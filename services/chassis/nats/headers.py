"""The header block of a NATS message, as raw bytes of the wire."""

from __future__ import annotations

from datetime import datetime


def header(headers: bytes | None, name: bytes) -> bytes | None:
    """The value of the header `name` (in its exact case) in a raw header block, None if it is absent.

    If there are several, the last one counts: JetStream appends its headers to the publisher's.
    """
    if headers is None:
        return None
    start = headers.rfind(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 3
    return headers[start : headers.find(b"\r\n", start)].strip()


def status(headers: bytes | None) -> int:
    """The status code of a reply ("NATS/1.0 503"), 0 for an ordinary message."""
    if headers is None or headers[8:9] != b" ":
        return 0
    return int(headers[9:12])


def header_block(**fields: str) -> bytes:
    """Raw headers for `publish` and `request`, from arguments such as `Nats_Msg_Id="x"`: underscores become dashes."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header contains a line break")
    return "\r\n".join(("NATS/1.0", *lines, "", "")).encode()


def seconds_of(time: str) -> float:
    """Converts a time as NATS writes it, in headers and elsewhere, to Unix seconds."""
    return datetime.fromisoformat(time).timestamp()
