"""Making JetStream streams, and changing the limits of those that exist in place."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, RePublish, RetentionPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, NobodyAnswers
from services.chassis.nats.streams import (
    API_TIMEOUT_S,
    CAUSES,
    EPOCH_KEY,
    NOT_NOW,
    RAISED_KEY,
    StreamState,
    new_epoch,
    state_of,
    write_epoch,
)

log = logging.getLogger(__name__)

_STREAM_EXISTS: Final = 10058  # JetStream error code: the name is in use with another configuration
_NO_ROOM: Final = 10047  # JetStream error code: max_file_store is less than the max_bytes of all streams
_NO_PEERS: Final = 10005  # JetStream error code: too few servers for the replicas
_LOOK_S: Final = 2.0
"""An existing stream answers within milliseconds; a stream without a leader does not answer. Making a stream takes
longer."""
_OFF: Final = (10039, 10076)  # JetStream error codes: not enabled for the account, or at all
_NO_CLUSTER: Final = 10074  # JetStream error code: replicas, and the server is not in a cluster


def stream_config(
    name: str,
    subject: str,
    max_age_s: float,
    duplicate_window_s: float,
    *,
    max_bytes: int | None = None,
    max_msgs_per_subject: int = -1,
    republish_to: str = "",
    metadata: dict[str, str] | None = None,
    allow_msg_ttl: bool | None = None,
    refuse_when_full: bool = False,
    replicas: int = 0,
) -> StreamConfig:
    """The configuration of a stream. All our streams are on disk, limited by age, and readable from any replica.

    Times are in seconds. `max_bytes` limits the whole stream (None: no limit), `max_msgs_per_subject` each subject (-1:
    no limit). NATS republishes each stored message to `republish_to`, a subject with the same wildcards as `subject`.
    When `max_bytes` are used the oldest messages are removed, or (`refuse_when_full`) new ones are refused, except that
    a subject at its own limit still takes messages. With `allow_msg_ttl` a message may have a shorter life, by its
    header `Nats-TTL`. `replicas`: how many servers have the stream; 0 for `nats.replicas`.
    """
    return StreamConfig(
        name=name,
        subjects=[subject],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        max_age=max_age_s,
        max_bytes=max_bytes,
        max_msgs_per_subject=max_msgs_per_subject,
        duplicate_window=duplicate_window_s,
        republish=RePublish(src=subject, dest=republish_to) if republish_to else None,
        allow_direct=True,
        metadata=metadata,
        allow_msg_ttl=allow_msg_ttl,
        discard=DiscardPolicy.NEW if refuse_when_full else DiscardPolicy.OLD,
        num_replicas=replicas or None,
    )


JETSTREAM_OFF: Final = (
    "switch JetStream on in the configuration of NATS (jetstream {}), and for the account of this user; if NATS "
    "switched it off because its disk was full (its log says so), make room and restart NATS"
)


async def ensure_stream(
    link: NatsLink, config: StreamConfig, *, update: bool = True, room_setting: str = ""
) -> StreamState:
    """Creates the stream if it is missing. If its limits differ and `update` is set, changes them in place.

    Settings that `config` does not mention stay as they are. `room_setting` is the setting behind `max_bytes`: an error
    for lack of room names it. Raises `NatsAway`, and `NatsRefused` if NATS refuses the stream or the change.
    """
    name = config.name
    assert name is not None
    if not link.is_connected:  # nats-py would wait
        raise NatsAway(f"stream {name}: NATS is unavailable")
    config = replace(config, num_replicas=config.num_replicas or link.replicas or None)
    wanted = replace(config, metadata={**(config.metadata or {}), EPOCH_KEY: new_epoch()})
    manager = link.stream_manager(API_TIMEOUT_S)
    try:
        try:
            info = await link.stream_manager(_LOOK_S).stream_info(name)
        except NotFoundError:
            try:
                return state_of(await manager.add_stream(wanted))
            except APIError as error:
                if error.err_code != _STREAM_EXISTS:
                    raise
                info = await manager.stream_info(name)  # created meanwhile, with other limits
        changes = _differences(info.config, config) if update else {}
        if changes:
            _warn_of_loss(info, changes)
            info = await manager.update_stream(replace(info.config, **changes, metadata=_noting(info, changes)))
        if EPOCH_KEY not in (info.config.metadata or {}):
            info = await write_epoch(manager, info)
        return state_of(info)
    except APIError as error:
        if isinstance(error, ServiceUnavailableError) and error.description is None:
            raise NobodyAnswers(f"stream {config.name}: nobody answers for JetStream: {JETSTREAM_OFF}") from None
        if error.err_code in NOT_NOW:
            raise NatsAway(f"stream {config.name}: {error.description}") from None
        why = f"stream {config.name}: {_explained(error, config, room_setting)}"
        raise NatsRefused(why, CAUSES.get(error.err_code or 0, "refused")) from None
    except TimeoutError:
        raise NatsAway(f"stream {config.name}: no answer in time", "timeout") from None
    except NatsError as error:
        raise NatsAway(f"stream {config.name}: {error}") from None


def _explained(error: APIError, config: StreamConfig, room_setting: str) -> str:
    if error.err_code in (_NO_CLUSTER, _NO_PEERS):
        lack = "NATS is a single server" if error.err_code == _NO_CLUSTER else "its cluster has fewer at the moment"
        return (
            f"nats.replicas (or `replicas` of its namespace) asks for {config.num_replicas or 1} servers, but {lack}: "
            f"lower it, or run that many servers as one cluster, see docs/nats-cluster.md ({error.description})"
        )
    if error.err_code in _OFF:
        return f"{error.description}: {JETSTREAM_OFF}"
    if error.err_code != _NO_ROOM:
        return str(error.description)
    lower = f"lower {room_setting}, or raise" if room_setting else "raise"
    return f"{error.description} for its {config.max_bytes} bytes: {lower} max_file_store of NATS"


def _differences(actual: StreamConfig, wanted: StreamConfig) -> dict[str, Any]:
    limits = (
        "subjects",
        "max_msgs_per_subject",
        "max_age",
        "max_bytes",
        "duplicate_window",
        "republish",
        "allow_direct",
        "allow_msg_ttl",
        "discard",
        "num_replicas",
    )
    return {
        name: value
        for name in limits
        if (value := getattr(wanted, name)) is not None and value != getattr(actual, name)
    }


def _warn_of_loss(info: StreamInfo, changes: dict[str, Any]) -> None:
    limit, held = changes.get("max_bytes") or -1, info.state.bytes
    if 0 < limit < held:
        log.warning(
            "stream %s holds %d bytes and may hold %d from now on: its oldest messages are removed",
            info.config.name,
            held,
            limit,
        )
    copies, before = changes.get("num_replicas") or 0, info.config.num_replicas or 1
    if 0 < copies < before:
        log.warning("stream %s was on %d servers, and is on %d from now on", info.config.name, before, copies)


def _noting(info: StreamInfo, changes: dict[str, Any]) -> dict[str, str] | None:
    """The stream's metadata, with its last sequence added if its limit for a subject is being raised."""
    metadata = info.config.metadata
    before, after = info.config.max_msgs_per_subject or -1, changes.get("max_msgs_per_subject", 0)
    if 0 < before < after or (before > 0 and after < 0):
        return {**(metadata or {}), RAISED_KEY: str(info.state.last_seq)}
    return metadata
