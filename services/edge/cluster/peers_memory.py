"""Peers in memory: for unit tests and for trying things without NATS. Held to the same contract as the real ones.

A `MemoryPeersCluster` is what several edges share; each edge has a `MemoryPeers` on it.
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
from proto.telemetry import Heartbeat, Process, encode_heartbeat
from services.edge.cluster.cluster import Cluster
from services.edge.cluster.peers import ASK_TIMEOUT_S, PeerGone, PeersAway, Responder

_NO_FIGURES = Process(cpu_s=0, rss_bytes=0, open_fds=0, max_fds=0, loop_lag_s=0, uptime_s=0)


class MemoryPeersCluster:
    """What the edges of one cluster share."""

    def __init__(self) -> None:
        self.peers: dict[str, MemoryPeers] = {}

    def kill(self, instance: str) -> None:
        """Ends an edge at once; the others find out in the next turn of the loop."""
        asyncio.get_running_loop().call_soon(self.lose, instance)
        del self.peers[instance]

    def hang(self, instance: str) -> None:
        """From now on it is silent."""
        self.peers[instance].hangs = True

    def lose(self, instance: str) -> None:
        """Its heartbeats have been missing for too long: the others give up waiting for it."""
        for other in self.peers.values():
            other.cluster.declare_lost(instance)

    def wake(self, instance: str) -> None:
        """It is back from hanging, and beats."""
        self.peers[instance].hangs = False
        self.beat(instance)

    def beat(self, instance: str) -> None:
        """Everybody hears a heartbeat of it."""
        beat = encode_heartbeat(
            Heartbeat(service="edge", name=instance, instance=instance, version="", at=0, process=_NO_FIGURES)
        )
        for other in self.peers.values():
            other.cluster.heard(beat)


class MemoryPeers:
    """One edge's peers. `away` cuts it off from the others."""

    def __init__(self, shared: MemoryPeersCluster, cluster: Cluster) -> None:
        self._shared = shared
        self._responder: Responder | None = None
        self._lost: dict[str, asyncio.Event] = {}
        self.cluster = cluster
        self.away = False
        self.hangs = False
        cluster.listen(self)

    @property
    def instance(self) -> str:
        return self.cluster.own

    async def start(self, responder: Responder) -> None:
        """Answers from now on; all edges know each other when it returns."""
        self._responder = responder
        self._shared.peers[self.instance] = self
        for instance in self._shared.peers:
            self._shared.beat(instance)

    def edge_found(self, instance: str) -> None:
        self._lost[instance] = asyncio.Event()

    def edge_lost(self, instance: str) -> None:
        self._lost.pop(instance).set()

    async def ask(self, instance: str, request: ControlRequest, timeout_s: float = ASK_TIMEOUT_S) -> ControlAnswer:
        if instance == self.instance:
            return await self.respond(request)
        if self.away:
            raise PeersAway("away")
        await asyncio.sleep(0)
        other = self._shared.peers.get(instance)
        if other is None:
            raise PeerGone(f"edge {instance} is gone")
        try:
            async with asyncio.timeout(timeout_s):
                if other.hangs:
                    await self._lost.get(instance, asyncio.Event()).wait()
                    raise PeerGone("the edge was lost while it was asked")
                return decode_answer(encode_answer(await other.respond(decode_request(encode_request(request)))))
        except PeerGone:
            raise
        except Exception as error:
            raise PeersAway(f"edge {instance}: {error}") from None

    async def ask_all(self, request: ControlRequest, timeout_s: float = ASK_TIMEOUT_S) -> list[ControlAnswer]:
        if self.away:
            raise PeersAway("away")
        others = [self.ask(instance, request, timeout_s) for instance in self.cluster.instances()]
        own, *answers = await asyncio.gather(self.respond(request), *others, return_exceptions=True)
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

    async def respond(self, request: ControlRequest) -> ControlAnswer:
        """This edge's own answer."""
        assert self._responder is not None, "a question before start()"
        if isinstance(request, Probe):
            return Done()
        answer = self._responder(request)
        return await answer if inspect.isawaitable(answer) else answer
