"""JetStream streams as logs: their identity, storing messages. `stream_making` creates them.

*Identity.* A stream that was created again, or restored from an older copy, reuses sequence numbers. A sequence
therefore counts only together with an epoch: random letters in the stream's metadata, written when the stream is
created, and changed when its last sequence is found lower than before.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
from nats.errors import Error as NatsError
from nats.js import JetStreamManager
from nats.js.api import StreamInfo
from nats.js.errors import APIError

from proto import subjects
from services.chassis.nats.link import Cause, NatsAway, NatsLink, NatsRefused

EPOCH_KEY = "fairlead-epoch"
RAISED_KEY = "fairlead-raised-at"
_EPOCH_LETTERS = 8
_WRONG_LAST_SEQUENCE = (10071, 10164)  # JetStream error codes: another message was, or (in a cluster) is being stored
_NOT_FOUND = 404
_STORE_FAILED = 10077  # JetStream error code for any failure to store; the description says which
_OWN_LIMIT = "maximum bytes exceeded"  # the end of the description, for a stream with `refuse_when_full`
CAUSES: dict[int, Cause] = {
    10002: "storage",  # resource limits exceeded for account
    10023: "storage",  # insufficient resources: what is stored exceeds max_file_store
    10047: "storage",  # insufficient storage resources available
    _STORE_FAILED: "storage",
    10054: "too_large",  # message size exceeds maximum allowed
    10097: "too_large",  # header size exceeds maximum allowed
}
"""Causes by the code of JetStream's error. A full disk has no code: nats-server 2.15 logs it and does not answer."""
API_TIMEOUT_S = 5.0
NOT_NOW = (10008, 10009)
"""JetStream error codes: a cluster has no leader for its API now, or has just changed it."""
_HEARD_NS = 2_500_000_000
"""Replicas answer their leader's heartbeats, one a second, even while nothing is stored."""
_NO_LEADER = "@"


@dataclass(frozen=True, slots=True)
class StreamState:
    """A stream at one moment. Both sequences are 0 if it never had a message; `first` is `last` + 1 if it is empty.

    `limit` is the number of messages that it keeps for each subject (-1: all); it was last raised at the sequence
    `raised_at`. `last_at` is NATS's time of the last message, "" if that was not asked for. `leader`: which server of a
    cluster leads the stream, and since when; "" outside of a cluster, "@" if no server leads it. `max_age_s` is how
    long it keeps a message (0: for ever). `answered_at` is NATS's time of this answer, "" if that was not asked for.
    `has_majority`: its leader has lately heard from most of its replicas. Without a majority the leader still reports
    the state, but stores nothing. `replicas` is how many servers have the stream.
    """

    epoch: str
    first: int
    last: int
    metadata: dict[str, str]
    limit: int = -1
    last_at: str = ""
    leader: str = ""
    max_bytes: int = -1
    max_age_s: float = 0.0
    answered_at: str = ""
    has_majority: bool = True
    replicas: int = 1

    @property
    def raised_at(self) -> int:
        """The last sequence when the limit was raised, 0 if it never was."""
        at = self.metadata.get(RAISED_KEY, "")
        return int(at) if at.isdigit() else 0


def new_epoch() -> str:
    """Random letters that identify a stream from now on."""
    return "".join(secrets.choice(string.ascii_letters) for _ in range(_EPOCH_LETTERS))


def state_of(info: StreamInfo) -> StreamState:
    """The state in JetStream's answer, as nats-py decodes it."""
    metadata, limit = info.config.metadata or {}, info.config.max_msgs_per_subject or -1
    return StreamState(
        metadata.get(EPOCH_KEY, ""),
        info.state.first_seq,
        info.state.last_seq,
        metadata,
        limit,
        max_bytes=info.config.max_bytes or -1,
        max_age_s=info.config.max_age or 0.0,
    )


class _Config(msgspec.Struct, frozen=True):
    metadata: dict[str, str] | None = None
    max_msgs_per_subject: int = -1
    max_bytes: int = -1
    max_age: int = 0


class _Sequences(msgspec.Struct, frozen=True):
    first_seq: int = 0
    last_seq: int = 0
    last_ts: str = ""


class _Replica(msgspec.Struct, frozen=True):
    current: bool = False
    active: int = 0  # nanoseconds since the leader heard from it
    offline: bool = False


class _Cluster(msgspec.Struct, frozen=True):
    leader: str = ""
    leader_since: str = ""
    replicas: list[_Replica] = []  # all but the leader

    @property
    def has_majority(self) -> bool:
        """Whether the leader hears from most replicas. A leader that has lost them still answers for 16 s, and calls
        them current for 10 s."""
        heard = sum(each.current and not each.offline and each.active < _HEARD_NS for each in self.replicas)
        return bool(self.leader) and 2 * (1 + heard) > 1 + len(self.replicas)


class ApiError(msgspec.Struct):
    """An error in an answer of JetStream's API."""

    code: int = 0
    err_code: int = 0
    description: str = "refused"


def raised(what: str, error: ApiError | APIError) -> NatsAway | NatsRefused:
    """What to raise for an error of JetStream's API about `what`: `NatsAway` if it may work soon."""
    kind = NatsAway if error.err_code in NOT_NOW else NatsRefused
    return kind(f"{what}: {error.description}")


class _Info(msgspec.Struct):
    """The parts of JetStream's answer that make a `StreamState`. nats-py's type takes ten times as long to decode."""

    config: _Config = _Config()
    state: _Sequences = _Sequences()
    cluster: _Cluster | None = None
    ts: str = ""
    error: ApiError | None = None


_decode_info = msgspec.json.Decoder(_Info).decode


async def stream_state(link: NatsLink, name: str, timeout_s: float = API_TIMEOUT_S) -> StreamState | None:
    """The stream's state, None if there is no such stream. Raises `NatsAway`."""
    _, answer = await link.request(subjects.stream_info(name), b"", timeout_s=timeout_s)
    try:
        info = _decode_info(answer)
    except msgspec.DecodeError:
        raise NatsAway(f"the reply with the state of stream {name} is not JetStream's") from None
    if info.error is not None:
        if info.error.code == _NOT_FOUND:
            return None
        raise NatsAway(f"the state of stream {name}: {info.error.description}")
    metadata, state, cluster = info.config.metadata or {}, info.state, info.cluster
    return StreamState(
        metadata.get(EPOCH_KEY, ""),
        state.first_seq,
        state.last_seq,
        metadata,
        info.config.max_msgs_per_subject or -1,
        state.last_ts,
        _leader_of(cluster),
        info.config.max_bytes or -1,
        info.config.max_age / 1e9,
        info.ts,
        cluster is None or cluster.has_majority,
        1 if cluster is None else 1 + len(cluster.replicas),
    )


def _leader_of(cluster: _Cluster | None) -> str:
    if cluster is None:
        return ""
    return f"{cluster.leader}@{cluster.leader_since}" if cluster.leader else _NO_LEADER


async def renew_epoch(link: NatsLink, name: str) -> StreamState:
    """Gives the stream a new epoch, after its last sequence fell: old positions are void. Raises `NatsAway`."""
    manager = link.stream_manager(API_TIMEOUT_S)
    try:
        return state_of(await write_epoch(manager, await manager.stream_info(name)))
    except (NatsError, TimeoutError) as error:
        raise NatsAway(f"a new epoch for stream {name}: {error}") from None


async def write_epoch(manager: JetStreamManager, info: StreamInfo) -> StreamInfo:
    """Gives the stream a new epoch. Raises nats-py's errors."""
    metadata = {**(info.config.metadata or {}), EPOCH_KEY: new_epoch()}
    return await manager.update_stream(replace(info.config, metadata=metadata))


class WrongSequence(NatsRefused):
    """The newest message of the subject is not the expected one (`expect_last`), so nothing was stored."""


class _Ack(msgspec.Struct):
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


class Stored(NamedTuple):
    """Where a message is stored. `duplicate`: the stream already had a message with the same id in its duplicate
    window."""

    sequence: int
    duplicate: bool


_decode_ack = msgspec.json.Decoder(_Ack).decode


async def store(link: NatsLink, subject: str, data: bytes, headers: bytes | None, timeout_s: float = 5.0) -> Stored:
    """Stores one message; messages with the same id are stored once.

    Raises `NatsAway` (it is then unknown whether the message is stored: try again with the same id), `NatsRefused`, and
    with headers of `expect_last` also `WrongSequence`.
    """
    _, answer = await link.request(subject, data, headers, timeout_s)
    try:
        ack = _decode_ack(answer)
    except msgspec.DecodeError:
        raise NatsRefused(f"the reply to a message on {subject} is not JetStream's") from None
    if ack.error is not None:
        kind = WrongSequence if ack.error.err_code in _WRONG_LAST_SEQUENCE else NatsRefused
        raise kind(f"JetStream: {ack.error.description}", _cause(ack.error))
    return Stored(ack.seq, ack.duplicate)


def _cause(error: ApiError) -> Cause:
    if error.err_code == _STORE_FAILED and error.description.endswith(_OWN_LIMIT):
        return "full"
    return CAUSES.get(error.err_code, "refused")


def expect_last(headers: bytes | None, sequence: int) -> bytes:
    """`headers` for a message that is stored only if `sequence` is the newest of its subject (0: there is none)."""
    line = f"Nats-Expected-Last-Subject-Sequence: {sequence}\r\n".encode()
    return (headers or b"NATS/1.0\r\n\r\n")[:-2] + line + b"\r\n"


class _Audited(msgspec.Struct):
    request: str = ""


class _Purge(msgspec.Struct):
    seq: int = 0
    filter: str = ""


def audited_purge(advisory: bytes) -> tuple[str, int]:
    """The subject of which a purge removed messages, and the sequence before which it did: `purge` names both, other
    callers need not."""
    try:
        audited = msgspec.json.decode(advisory, type=_Audited)
        request = msgspec.json.decode(audited.request or "{}", type=_Purge)
    except msgspec.DecodeError:
        return "", 0
    return request.filter, request.seq


async def purge(link: NatsLink, stream: str, subject: str, before: int) -> None:
    """Removes the messages of a subject whose sequence is below `before`. Raises `NatsAway`, `NatsRefused`."""
    try:
        await link.stream_manager(API_TIMEOUT_S).purge_stream(stream, seq=before, subject=subject)
    except APIError as error:
        raise raised(f"stream {stream}", error) from None
    except (NatsError, TimeoutError) as error:
        raise NatsAway(f"stream {stream}: {error}") from None
