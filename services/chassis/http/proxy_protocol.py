"""The PROXY protocol, by which a proxy that passes TCP through reports the address of its client. Versions 1 and 2.
Pure.

The header comes before anything else on the connection. Anybody could send one, so it is read only on a port where a
proxy always sends one; see `client_address`.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

_SIGNATURES: Final = (b"PROXY ", b"\r\n\r\n\x00\r\nQUIT\n")
_LONGEST_LINE: Final = 107  # of version 1
_MAX_BLOCK_BYTES: Final = 2048
"""Of version 2. The addresses take 36 bytes; proxies add a few fields, which are not read."""
_LINE: Final = re.compile(rb"PROXY TCP[46] ([0-9a-fA-F.:]{2,45}) [0-9a-fA-F.:]{2,45} \d{1,5} \d{1,5}", re.ASCII)


class Preamble(NamedTuple):
    """A header of `size` bytes, which says that the client's address is `address`; "" if the proxy itself is the
    client.

    A size of 0: the connection begins without a header.
    """

    address: str
    size: int


def read(data: bytes) -> Preamble | None:
    """The header at the beginning of a connection; None while it is incomplete. Raises ValueError for a broken one."""
    for signature, parse in zip(_SIGNATURES, (_version_1, _version_2), strict=True):
        if data.startswith(signature):
            return parse(data)
        if signature.startswith(data):
            return None
    return Preamble("", 0)


def _version_1(data: bytes) -> Preamble | None:
    line, end, _ = data[:_LONGEST_LINE].partition(b"\r\n")
    if not end:
        if len(data) >= _LONGEST_LINE:
            raise ValueError("a PROXY line that does not end")
        return None
    size = len(line) + len(end)
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return Preamble("", size)
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError("a PROXY line without addresses")
    source = found[1].decode()
    return Preamble(_ipv6(IPv6Address(source)) if line.startswith(b"PROXY TCP6") else str(IPv4Address(source)), size)


def _version_2(data: bytes) -> Preamble | None:
    if len(data) < 16:
        return None
    command, family, length = data[12], data[13], int.from_bytes(data[14:16], "big")
    if command not in (0x20, 0x21) or length > _MAX_BLOCK_BYTES:
        raise ValueError("a PROXY header of another version, or too long")
    size = 16 + length
    if len(data) < size:
        return None
    if command == 0x20:  # the proxy's own connection, such as a health check
        return Preamble("", size)
    if family == 0x11 and length >= 12:
        return Preamble(str(IPv4Address(data[16:20])), size)
    if family == 0x21 and length >= 36:
        return Preamble(_ipv6(IPv6Address(data[16:32])), size)
    return Preamble("", size)  # a client that does not use TCP


def _ipv6(address: IPv6Address) -> str:
    """An IPv4-mapped IPv6 address counts as IPv4."""
    return str(address.ipv4_mapped or address)
