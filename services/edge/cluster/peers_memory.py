"""Peers within one process: `edge.broker = "memory"`, where an edge is alone. Unit tests have several edges.

Held to the same contract as the peers over NATS.
"""

from __future__ import annotations

import asyncio
import inspect

from proto.control import (
    ControlAnswer,
    ControlRequest,
    Done,
    Probe,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from proto.trace_context import TraceContext
from services.chassis.tracing.span import active_context
from services.edge.cluster.cluster import Cluster
from services.edge.cluster.peers import ASK_TIMEOUT_S, PeerGone, PeersAway, Responder


class MemoryPeers:
    """See `peers.Peers`. The edges in one dictionary `all_edges` (by instance) can ask each other.

    An edge by itself has a dictionary of its own. `cluster` says which edges are alive.
    """

    def __init__(self, all_edges: dict[str, MemoryPeers], cluster: Cluster) -> None:
        self._all_edges = all_edges
        self._responder: Responder | None = None
        self.cluster = cluster

    @property
    def instance(self) -> str:
        return self.cluster.own

    async def start(self, responder: Responder) -> None:
        """Answers requests from now on."""
        self._responder = responder
        self._all_edges[self.instance] = self

    async def ask(self, instance: str, request: ControlRequest, timeout_s: float = ASK_TIMEOUT_S) -> ControlAnswer:
        if instance == self.instance:
            return await self.respond(request, active_context())
        await asyncio.sleep(0)
        other = self._all_edges.get(instance)
        if other is None:
            raise PeerGone(f"edge {instance} is gone")
        try:
            received = decode_request(encode_request(request))
            async with asyncio.timeout(timeout_s):
                return decode_answer(encode_answer(await other.respond(received, active_context())))
        except Exception as error:
            raise PeersAway(f"edge {instance}: {error}") from None

    async def ask_all(self, request: ControlRequest, timeout_s: float = ASK_TIMEOUT_S) -> list[ControlAnswer]:
        others = [self.ask(instance, request, timeout_s) for instance in self.cluster.instances()]
        own, *answers = await asyncio.gather(self.respond(request, active_context()), *others, return_exceptions=True)
        if isinstance(own, BaseException):
            raise own
        whole = [own]
        for answer in answers:
            if isinstance(answer, BaseException):
                if not isinstance(answer, PeerGone):
                    raise answer
            else:
                whole.append(answer)
        return whole

    async def respond(self, request: ControlRequest, cause: TraceContext | None) -> ControlAnswer:
        """This edge's own answer."""
        assert self._responder is not None, "a question before start()"
        if isinstance(request, Probe):
            return Done()
        answer = self._responder(request, cause)
        return await answer if inspect.isawaitable(answer) else answer
