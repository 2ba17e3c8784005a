"""The backends of an edge by their names, and which of them answers what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.chassis.tracing.span import Span
from services.edge.backend.backend import Backend, BackendAway, Caller
from services.edge.backend_settings import RPCSection
from services.edge.hook_settings import NATS

NAMESPACE_BOUNDARY: Final = ":"
"""Ends the namespace of a method, as it does in channels."""


class Backends:
    """Backends by their names. One is "nats", which also takes messages that need no answer."""

    def __init__(self, by_name: Mapping[str, Backend], rpc: RPCSection | None = None) -> None:
        self.replace(by_name, rpc or RPCSection())

    def replace(self, by_name: Mapping[str, Backend], rpc: RPCSection) -> None:
        """Replaces all backends by these."""
        self._by_name = dict(by_name)
        self._of_others = rpc.backend
        self._of_namespaces = {each.name: each.backend for each in rpc.namespaces}

    @property
    def names(self) -> list[str]:
        """The names of the backends."""
        return list(self._by_name)

    def named(self, name: str) -> Backend:
        """The backend of this name. Raises `BackendAway` if a reload has removed it."""
        try:
            return self._by_name[name]
        except KeyError:
            raise BackendAway(f"there is no backend {name} any more", "no_responders") from None

    def of_method(self, method: str) -> str:
        """The name of the backend that answers this RPC."""
        if not self._of_namespaces:
            return self._of_others
        return self._of_namespaces.get(method.partition(NAMESPACE_BOUNDARY)[0], self._of_others)

    async def call(self, method: str, data: bytes, caller: Caller, timeout_s: float) -> bytes:
        """The answer to an RPC, by the backend that `of_method` names. See `Backend.call`."""
        return await self.named(self.of_method(method)).call(method, data, caller, timeout_s)

    def send(self, data: bytes, caller: Caller, cause: Span | None = None) -> None:
        """Sends a client's message that needs no answer, over NATS. See `Backend.send`."""
        self._by_name[NATS].send(data, caller, cause)
