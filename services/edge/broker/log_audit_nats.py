"""The audit: finds open channels whose log has moved on although no live message has shown it.

If a stream does not answer, or fails halfway, only its own channels are unknown.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping

from proto.subjects import LogAddress
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.nats.stream_reads import MULTI_LAST_SUBJECTS, read_last_of
from services.edge.broker.broker import Audit, ChannelAddress, LogState
from services.edge.broker.channel_subscription import ChannelSubscription
from services.edge.broker.log_streams_nats import LogStreams
from services.edge.broker.stream_gates_nats import StreamGates
from services.edge.yielding import yielding_every


class LogAudit:
    """`open_channels` are the edge's open channels; `where` returns the log of a channel."""

    def __init__(
        self,
        link: NatsLink,
        streams: LogStreams,
        gates: StreamGates,
        open_channels: Mapping[ChannelAddress, ChannelSubscription],
        where: Callable[[ChannelAddress], LogAddress],
    ) -> None:
        self._link = link
        self._streams = streams
        self._gates = gates
        self._open = open_channels
        self._where = where

    async def of(self, positions: dict[ChannelAddress, int]) -> Audit:
        """See `broker.Broker.audit`."""
        by_stream: defaultdict[str, list[ChannelAddress]] = defaultdict(list)
        async for address in yielding_every(positions):
            by_stream[self._where(address).stream].append(address)
        before = {stream: self._streams.known.epoch(stream) for stream in by_stream}
        states = await asyncio.gather(*map(self._state, by_stream))  # all at once: each silent one takes seconds
        behind: dict[ChannelAddress, int] = {}
        unknown: set[ChannelAddress] = set()
        why = ""
        for state, (stream, addresses) in zip(states, by_stream.items(), strict=True):
            try:
                if isinstance(state, LogState):
                    await self._of_stream(stream, before[stream], state, addresses, positions, behind)
                    continue
                failure = state
            except (NatsAway, NatsRefused) as error:
                failure = error
            unknown.update(addresses)
            why = str(failure)
        return Audit(behind, frozenset(unknown), why)

    async def _state(self, stream: str) -> LogState | NatsAway | NatsRefused:
        shut = self._gates.of(stream)
        if shut is not None:
            return NatsAway(shut.why, shut.cause)
        try:
            return await self._streams.fresh_state(stream)
        except (NatsAway, NatsRefused) as error:
            return error

    async def _of_stream(
        self,
        stream: str,
        before: str,
        state: LogState,
        addresses: list[ChannelAddress],
        positions: dict[ChannelAddress, int],
        found: dict[ChannelAddress, int],
    ) -> None:
        """Adds the channels of one stream that are behind to `found`, even if it fails later. `before` is the stream's
        epoch before the audit.

        It begins where the previous audit ended. A quiet channel therefore costs nothing, and of a busy channel each
        audit reads at most the newest message. Raises `NatsAway`, `NatsRefused`.
        """
        if state.epoch != before:
            found.update(dict.fromkeys(addresses, 0))
            return
        known: list[tuple[int, str, ChannelAddress]] = []
        async for address in yielding_every(addresses):
            subscription = self._open.get(address)
            upto = positions[address] if subscription is None else max(positions[address], subscription.audited)
            if upto < state.last:
                known.append((upto, self._where(address).stored, address))
            elif subscription is not None:
                subscription.unheard = False  # nothing has come since
        known.sort(key=lambda each: each[0])  # so that channels with old positions share requests
        unheard: list[tuple[int, ChannelSubscription, ChannelAddress]] = []
        for start in range(0, len(known), MULTI_LAST_SUBJECTS):
            part = known[start : start + MULTI_LAST_SUBJECTS]
            last = await read_last_of(self._link, stream, [stored for _, stored, _ in part], part[0][0])
            audited = min(state.last, last.upto)  # a replica that answers may be behind the state
            for upto, stored, address in part:
                newest, subscription = last.sequences.get(stored, 0), self._open.get(address)
                if newest > positions[address]:
                    found[address] = newest  # a sync finds out whether there were others before
                    if subscription is not None:
                        subscription.unheard = False
                elif subscription is not None and subscription.unheard:
                    unheard.append((upto, subscription, address))
                elif subscription is not None:
                    subscription.audited = max(subscription.audited, audited)
        if unheard:
            await self._of_unheard(stream, state, unheard, found)

    async def _of_unheard(
        self,
        stream: str,
        state: LogState,
        unheard: list[tuple[int, ChannelSubscription, ChannelAddress]],
        found: dict[ChannelAddress, int],
    ) -> None:
        """The same for channels that were `unheard`, and of which the log holds nothing new."""
        # Read after the newest entries: an entry that has not been evicted by now would have been among those.
        after = await self._streams.fresh_state(stream)
        came: set[str] = set()
        for start in range(0, len(unheard), MULTI_LAST_SUBJECTS):
            asked = [(self._where(each).stored, upto) for upto, _, each in unheard[start:][:MULTI_LAST_SUBJECTS]]
            came |= await self._streams.indexes.newer(stream, state.epoch, asked, after.last)
        for upto, subscription, address in unheard:
            subscription.unheard = False
            evicted = after.first > upto + 1 or self._where(address).stored in came
            if after.epoch != state.epoch or evicted:
                found[address] = after.last
            else:
                subscription.audited = max(subscription.audited, state.last)
