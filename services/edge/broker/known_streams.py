"""What this edge knows of the streams of logs: the epoch of each, its state as last read, how far it has come. Pure."""

from __future__ import annotations

from collections.abc import Callable

from proto.messages import StreamPosition
from services.chassis.nats.streams import StreamState
from services.edge.broker.channel_subscription import HeardStream
from services.edge.broker.log_lineage import Lineage


class KnownStreams:
    """By stream. `on_doubt(stream)` is called when a live message shows that it may be another stream than before."""

    def __init__(self, on_doubt: Callable[[str], None]) -> None:
        self._on_doubt = on_doubt
        self._states: dict[str, StreamState] = {}
        self._last_seen: dict[str, int] = {}
        self._heard: dict[str, HeardStream] = {}

    def note(self, stream: str, state: StreamState) -> str | None:
        """Notes the state of a stream that was read. Returns its previous epoch, None if that was not known."""
        before = self._states.get(stream)
        self._states[stream] = state
        if before is not None and before.epoch == state.epoch:
            self._last_seen[stream] = max(self._last_seen[stream], state.last)
        else:
            self._last_seen[stream] = state.last
        return None if before is None else before.epoch

    def state(self, stream: str) -> StreamState:
        """The state of a stream as last read."""
        return self._states[stream]

    def epoch(self, stream: str) -> str:
        """The epoch of a stream as last read; "" if it was never read."""
        state = self._states.get(stream)
        return "" if state is None else state.epoch

    def continued(self, stream: str, position: StreamPosition) -> StreamPosition:
        """The position in the present epoch, if the log continues from it; otherwise the position unchanged."""
        state = self._states[stream]
        if position.epoch and Lineage.of(state.metadata).continues(position.epoch, position.offset):
            return StreamPosition(position.offset, state.epoch)
        return position

    def seen(self, stream: str, sequence: int) -> None:
        """The stream has reached `sequence` at least."""
        self._last_seen[stream] = max(self._last_seen.get(stream, 0), sequence)

    def last_seen(self, stream: str) -> int:
        """The highest sequence that this edge knows the stream to have reached, apart from live messages."""
        return self._last_seen.get(stream, 0)

    def reached(self, stream: str) -> int:
        """The same, including live messages."""
        return max(self.last_seen(stream), self.heard(stream).upto)

    def heard(self, stream: str) -> HeardStream:
        """How far this edge has heard the stream live."""
        heard = self._heard.get(stream)
        if heard is None:
            heard = self._heard[stream] = HeardStream(lambda: self._on_doubt(stream))
        return heard

    def in_doubt(self, stream: str) -> bool:
        """Whether the stream may be another one than before. It is being checked then."""
        return stream in self._heard and self._heard[stream].suspect

    def epochs(self) -> dict[str, str]:
        """The epochs of all streams."""
        return {stream: state.epoch for stream, state in self._states.items()}
