"""What session events contain about how a client connected, as the settings ask for it. Pure.

An address is personal data. It is recorded in full, as its network, as a keyed digest, or not at all: the digest of an
address is always the same, and without the key nobody can try all addresses to find the one behind it.
"""

from __future__ import annotations

from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from services.edge.arrival import Arrival
from services.edge.client_settings import HASHED, NONE, TRUNCATED, ClientSection

_IPV4_PREFIX: Final = 24
_IPV6_PREFIX: Final = 48
_DIGEST_BYTES: Final = 16


def details(section: ClientSection, arrival: Arrival, transport: str) -> dict[str, str]:
    """The details that `client.session_event_details` names. Details of the request are "" once it is forgotten."""
    told: dict[str, str] = {}
    for name in section.session_event_details:
        if name == "address":
            told[name] = told_address(section, arrival.address)
        else:
            told[name] = transport if name == "transport" else getattr(arrival, name)
    return told


def needed(section: ClientSection) -> list[str]:
    """What `details` needs to know of a client as long as it is connected: no address if none is recorded."""
    never = "address" if section.session_addresses == NONE else ""
    return [name for name in section.session_event_details if name != never]


def told_address(section: ClientSection, address: str) -> str:
    """The address in the form that `client.session_addresses` names; "" if it is not known, or not to be recorded."""
    how = section.session_addresses
    if not address or how == NONE:
        return ""
    if how == HASHED:
        key = blake2b(section.session_address_key.encode()).digest()  # blake2b limits the length of keys
        return blake2b(_plain(address).encode(), digest_size=_DIGEST_BYTES, key=key).hexdigest()
    return _network(address) if how == TRUNCATED else address


def _plain(address: str) -> str:
    """One spelling for an address, so that it has one digest."""
    known = _parsed(address)
    return address if known is None else str(known)


def _network(address: str) -> str:
    known = _parsed(address)
    if known is None:  # not an address: nobody knows how much of it is personal
        return ""
    prefix = _IPV4_PREFIX if isinstance(known, IPv4Address) else _IPV6_PREFIX
    return str(ip_network(f"{known}/{prefix}", strict=False))


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = known.ipv4_mapped if isinstance(known, IPv6Address) else None
    return known if mapped is None else mapped
