"""The address of a connection's client, if there are proxies in between. Pure.

A proxy reports the address of its client in `X-Forwarded-For` or by the PROXY protocol. Anybody can write either, so
only what a trusted proxy wrote counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

_LONGEST: Final = 64
"""Characters of an address with its port and zone."""
_MAX_HOPS: Final = 32
_BY_PROXY: Final = "fairlead.by_proxy"  # of the ASGI scope's extensions


def mark_by_proxy(scope: MutableMapping[str, Any]) -> None:
    """Marks a request whose head a trusted proxy wrote, rather than just passing on what a client wrote."""
    scope.setdefault("extensions", {})[_BY_PROXY] = True


def is_by_proxy(scope: Mapping[str, Any]) -> bool:
    """Whether a request has that mark."""
    return _BY_PROXY in (scope.get("extensions") or {})


def parse(text: str) -> IPv4Address | IPv6Address | None:
    """The address in `text`, which may have a port; None for anything else. An IPv4-mapped IPv6 address counts as
    IPv4."""
    text = text.strip()
    if len(text) > _LONGEST:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


class Proxies:
    """The proxies that are trusted, as addresses and networks such as "10.0.0.0/8"."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        """Raises ValueError, with what was expected."""
        self._networks: list[IPv4Network | IPv6Network] = []
        for text in trusted:
            try:
                self._networks.append(ip_network(text, strict=False))
            except ValueError:
                raise ValueError(f"expected an address or a network such as 10.0.0.0/8, got {text!r}") from None
        self._known: dict[str, bool] = {}  # with proxies there are few peers

    def trust(self, peer: str) -> bool:
        """Whether the socket's other end is a trusted proxy."""
        if not self._networks:
            return False
        known = self._known.get(peer)
        if known is None:
            if len(self._known) >= 1024:
                self._known.clear()
            address = parse(peer)
            known = self._known[peer] = address is not None and self._trusts(address)
        return known

    def client(self, peer: str, forwarded: str) -> str:
        """The client's address: the last one in `X-Forwarded-For` that does not belong to a trusted proxy. The header
        was written by the proxy `peer` and the proxies before it.
        """
        if not forwarded or not self.trust(peer):
            return peer
        client = peer
        for text in reversed(forwarded.split(",")[-_MAX_HOPS:]):
            address = parse(text)
            if address is None:
                break
            client = str(address)
            if not self._trusts(address):
                break
        return client

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)
