"""The facts about refused clients in the session log: samples at a bounded rate, and counts of the others.

Any client can cause them, so they must not fill the log: of each kind (what was wanted, and the code), the first few in
a period are written one by one. The others are summed up by whom they concern, in one fact each; refusals of strangers,
and those beyond a bound, by their kind alone. At worst an edge writes 47 MB of these facts in an hour, however it is
attacked; one kind of refusals of strangers takes 1 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from proto.events import Refused, SessionEvent, encode_fact

PER_S: Final = 10.0
"""The period for which the limits below hold, and after which the sums are written."""

OF_A_KIND: Final = 10
"""Refusals of one kind that are written one by one."""

SAMPLED_BYTES: Final = 32 * 1024
"""Bytes of all refusals that are written one by one."""

SUMMED_BYTES: Final = 32 * 1024
"""Bytes of all sums that say whom they concern. Those of anonymous clients get at most half of it, so that an attacker
with many connections does not hide the users."""

MAX_KINDS: Final = 64
"""Kinds that are told apart. There are about fifty, and backends may add codes of their own."""

OTHERS: Final = ("other", 0)
"""Action and code of refusals beyond `MAX_KINDS`."""

_CONNECT: Final = "connect"
_NOBODY: Final = ("", "")

_REASON_LENGTH: Final = 128
_CHANNEL_LENGTH: Final = 320
_USER_LENGTH: Final = 512
"""The longest channel, which a refused client may make as long as a message, and the longest user that the sessions
service stores whole. A longer one is left out: cut off, it might name another, and an erasure would not find it."""


class _Sum:
    """Refusals that are only counted, written as one fact with what they have in common. `first` says whom they
    concern; what it says about a connection is left out if they are of several connections."""

    __slots__ = ("at", "channel", "count", "first", "of_one", "reason")

    def __init__(self, first: Refused) -> None:
        self.first = first
        self.reason = first.reason
        self.channel = first.channel
        self.count = self.at = 0
        self.of_one = True

    def add(self, refused: Refused, at: int) -> None:
        """Counts a refusal that happened at `at`."""
        self.count += 1
        self.at = at
        if self.reason != refused.reason[:_REASON_LENGTH]:
            self.reason = ""
        if self.channel != refused.channel:
            self.channel = ""
        if self.first.connection != refused.connection:
            self.of_one = False

    @property
    def fact(self) -> Refused:
        """The fact for all of them, with the time of the last."""
        first = self.first
        told = first if self.of_one else Refused(0, first.action, first.code, user=first.user)
        return replace(told, at=self.at, reason=self.reason, channel=self.channel, count=self.count)


class _Kind:
    """The refusals of one kind since `began`: how many were written one by one, and the sums of the others by user or,
    without one, by connection."""

    __slots__ = ("began", "name", "sums", "written")

    def __init__(self, name: tuple[str, int], began: float) -> None:
        self.name = name
        self.began = began
        self.written = 0
        self.sums: dict[tuple[str, str], _Sum] = {}


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
        self._sampled = self._summed = 0  # bytes since then

    def note(self, refused: Refused, details: Callable[[], Mapping[str, str]] = dict) -> None:
        """Writes this refusal, or counts it for a later fact. Sets its time, and bounds the fields that clients can
        make long. `details` returns how the client connected, and is called for only a small part of the refusals."""
        now, name = self._now(), (refused.action, refused.code)
        if now - self._began >= PER_S:
            self._began, self._sampled, self._summed = now, 0, 0
        if name not in self._kinds and len(self._kinds) >= MAX_KINDS:
            name = OTHERS
        kind = self._kinds.get(name)
        if kind is None or now - kind.began >= PER_S:
            if kind is not None:
                self._write_sums(kind)
            kind = self._kinds[name] = _Kind(name, now)
        if len(refused.user) > _USER_LENGTH:  # its connection alone would say that it was an anonymous client
            refused, details = Refused(0, refused.action, refused.code, refused.reason), dict
        elif len(refused.channel) > _CHANNEL_LENGTH:
            refused = replace(refused, channel="")
        if kind.written < OF_A_KIND and self._sampled < SAMPLED_BYTES:
            kind.written += 1
            fact = replace(refused, at=self._at(), reason=refused.reason[:_REASON_LENGTH], **details())
            self._sampled += len(encode_fact(fact))
            self._record(fact)
        else:
            self._sum(kind, refused, details).add(refused, self._at())

    def sweep(self) -> None:
        """Writes the sums of the kinds whose period is over. Called every few seconds at least."""
        now = self._now()
        for name, kind in [each for each in self._kinds.items() if now - each[1].began >= PER_S]:
            del self._kinds[name]
            self._write_sums(kind)

    def flush(self) -> None:
        """Writes all sums up to now, as the edge is being stopped."""
        for kind in self._kinds.values():
            self._write_sums(kind)

    def _sum(self, kind: _Kind, refused: Refused, details: Callable[[], Mapping[str, str]]) -> _Sum:
        """The sum that counts this refusal: that of its user, or of its connection, or else that of nobody."""
        whom = _NOBODY if kind.name == OTHERS else _concerned(refused)
        found = kind.sums.get(whom)
        if found is not None:
            return found
        reason = refused.reason[:_REASON_LENGTH]
        if whom != _NOBODY and self._summed < (SUMMED_BYTES if refused.user else SUMMED_BYTES // 2):
            made = _Sum(replace(refused, at=self._at(), reason=reason, **details()))
            self._summed += len(encode_fact(made.first))
        elif (nobodys := kind.sums.get(_NOBODY)) is not None:
            return nobodys
        else:
            whom, (action, code) = _NOBODY, kind.name
            made = _Sum(Refused(0, action, code, "" if kind.name == OTHERS else reason))
        kind.sums[whom] = made
        return made

    def _write_sums(self, kind: _Kind) -> None:
        for each in kind.sums.values():
            self._record(each.fact)
        kind.sums.clear()

    def _at(self) -> int:
        return int(self._unix() * 1000)


def _concerned(refused: Refused) -> tuple[str, str]:
    """Whom a refusal concerns: a user, or the connection of an anonymous client. A stranger who may not connect counts
    as nobody, as each attempt has another connection; so does a user whose name is too long."""
    if refused.user:
        return refused.user, ""
    return ("", refused.connection) if refused.action != _CONNECT else _NOBODY
