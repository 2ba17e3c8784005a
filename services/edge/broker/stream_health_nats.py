"""Tells the rest of the edge which streams can be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from services.chassis.nats.link import NatsAway
from services.edge.broker.broker import ChannelAddress
from services.edge.broker.log_streams_nats import LogStreams
from services.edge.broker.stream_gates_nats import StreamGates


class NatsStreamHealth:
    """See `broker.StreamHealth`."""

    def __init__(self, streams: LogStreams, gates: StreamGates) -> None:
        self._streams = streams
        self._gates = gates

    @property
    def unanswered(self) -> Collection[str]:
        return self._streams.unanswered

    @property
    def not_storing(self) -> int:
        return self._gates.not_storing

    def unavailable(self) -> Counter[tuple[str, str]]:
        return self._gates.counts()

    def answers(self, address: ChannelAddress) -> bool:
        if not address.history_class or not self._gates.any_shut:  # called for each subscribe
            return True
        try:
            return self._gates.of(self._streams.address(address).stream) is None
        except NatsAway:
            return False

    def remark(self) -> str | None:
        return self._gates.remark()
