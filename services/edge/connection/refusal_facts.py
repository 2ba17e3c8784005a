"""The facts about refused clients in the session log: samples at a bounded rate, and how many more there were.

Strangers cause them, so they must not fill the log: of one kind (what was wanted, and the code) the first few of a time
are written one by one, and the others as one fact with their number. At the worst an edge writes 35 MB of them in an
hour, whoever attacks it in whatever way; by one kind of refusal it is 1 MB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from proto.events import Refused, SessionEvent, encode_fact

PER_S: Final = 10.0
"""The time for which the limits below hold, and after which those that were only counted are written as one fact."""

OF_A_KIND: Final = 10
"""Refusals of one kind that are written one by one."""

SAMPLED_BYTES: Final = 32 * 1024
"""Bytes of all that are written one by one."""

MAX_KINDS: Final = 64
"""Kinds that are told apart. There are about fifty, and backends may add codes of their own."""

OTHERS: Final = ("other", 0)
"""Action and code of those beyond `MAX_KINDS`."""

_REASON_LENGTH: Final = 128
_NAME_LENGTH: Final = 320
"""Of a channel, which a refused client may make as long as a message, and of a user. A longer one is left out: what is
left of it may be the name of another, and an erasure would not find it."""


class _Kind:
    """The refusals of one kind since `began`: those written, and those that are only counted, with their `reason` if
    they have one in common."""

    __slots__ = ("began", "held", "reason", "written")

    def __init__(self, began: float) -> None:
        self.began = began
        self.written = 0
        self.held = 0
        self.reason = ""


class RefusalFacts:
    """Writes refusals with `record`. `now` is any clock in seconds, `unix` the wall clock."""

    def __init__(
        self, record: Callable[[SessionEvent], None], now: Callable[[], float], unix: Callable[[], float]
    ) -> None:
        self._record = record
        self._now = now
        self._unix = unix
        self._kinds: dict[tuple[str, int], _Kind] = {}
        self._began = 0.0
        self._bytes = 0  # of samples since then

    def takes(self, action: str, code: int, reason: str) -> bool:
        """Whether to `write` this refusal; otherwise it is counted, and is part of a later fact."""
        now, name = self._now(), (action, code)
        if name not in self._kinds and len(self._kinds) >= MAX_KINDS:
            name = OTHERS
        kind = self._kinds.get(name)
        if kind is None or now - kind.began >= PER_S:
            if kind is not None:
                self._write_held(name, kind)
            kind = self._kinds[name] = _Kind(now)
        if now - self._began >= PER_S:
            self._began, self._bytes = now, 0
        if kind.written < OF_A_KIND and self._bytes < SAMPLED_BYTES:
            kind.written += 1
            return True
        kind.reason = reason if not kind.held or kind.reason == reason else ""
        kind.held += 1
        return False

    def write(self, refused: Refused) -> None:
        """Writes a refusal that it takes. Its time is set here, and what strangers can make long is bounded."""
        fact = replace(
            refused,
            at=self._at(),
            reason=refused.reason[:_REASON_LENGTH],
            channel=_bounded(refused.channel),
            user=_bounded(refused.user),
        )
        self._bytes += len(encode_fact(fact))
        self._record(fact)

    def sweep(self) -> None:
        """Writes how many more there were, where the time is over. Called every few seconds at least."""
        now = self._now()
        for name, kind in [each for each in self._kinds.items() if now - each[1].began >= PER_S]:
            del self._kinds[name]
            self._write_held(name, kind)

    def flush(self) -> None:
        """Writes how many more there were up to now: the edge is being stopped."""
        for name, kind in self._kinds.items():
            self._write_held(name, kind)
            kind.held = 0

    def _write_held(self, name: tuple[str, int], kind: _Kind) -> None:
        if kind.held:
            action, code = name
            reason = "" if name == OTHERS else kind.reason[:_REASON_LENGTH]
            self._record(Refused(self._at(), action, code, reason, count=kind.held))

    def _at(self) -> int:
        return int(self._unix() * 1000)


def _bounded(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else ""
