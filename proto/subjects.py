"""Every NATS subject and stream name, built and parsed here and nowhere else.

A channel, a namespace or an instance is one token of a subject. Channel names may hold dots, spaces, wildcards or any
Unicode, none of which is safe there, so names are percent-encoded: `_token` is total, reversible and never empty.

| subject                       | kind                       | what                                              |
|-------------------------------|----------------------------|---------------------------------------------------|
| `ch.<class>.<p>.<channel>`    | stream `CH_<class>_<p>`    | publications of channels with history             |
| `live.<class>.<p>.<channel>`  | RePublish of the above     | what edges subscribe to                           |
| `eph.<channel>`               | core NATS                  | publications of channels without history          |
| `mem.<channel>`               | core NATS                  | joins and leaves of a channel, see `proto.members` |
| `key.<hash>`                  | stream `KEYS`              | idempotency keys of channels without history      |
| `ev.session.<instance>`       | stream `SESSIONS`          | facts about sessions, see `proto.events`          |
| `tel.<service>.<instance>`    | core NATS                  | heartbeats, see `proto.telemetry`                 |
| `ctl.edge.<instance>`         | core NATS, request/reply   | what edges ask each other, see `proto.control`    |
| `ctl.roll_call`               | core NATS                  | a new edge asks all edges for a heartbeat         |
| `rpc.<method>`                | core NATS, request/reply   | a client's RPC, answered by any backend           |
| `send.<user>`                 | core NATS                  | a client's message that wants no answer           |
| `hook.<event>`                | core NATS, request/reply   | a backend decides: connect, subscribe, publish, refresh |
| `api.<method>`                | core NATS, request/reply   | the server API, answered by any edge              |
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, unquote
from zlib import crc32

_SAFE = "-_:"  # beyond letters and digits; quote() also leaves "." and "~" alone
_EMPTY = "%"  # a lone percent sign is the output of no other name

SESSIONS_STREAM: Final = "SESSIONS"
SESSION_EVENTS_ALL: Final = "ev.session.>"  # what the stream takes: room for further tokens


def _token(name: str) -> str:
    return quote(name, safe=_SAFE).replace(".", "%2E").replace("~", "%7E") or _EMPTY


def _name(token: str) -> str:
    return "" if token == _EMPTY else unquote(token)


class LogAddress(NamedTuple):
    """Where the publications of one channel with history live."""

    stream: str  # the JetStream stream
    stored: str  # the subject that a publisher writes to

    @property
    def live(self) -> str:
        """The subject on which the stream republishes what it has stored."""
        return "live" + self.stored.removeprefix("ch")


def partition_of(channel: str, partitions: int) -> int:
    """The partition of a channel: crc32 of its UTF-8 name modulo `partitions` (>= 1). Never changes for a class."""
    return crc32(channel.encode()) % partitions


@lru_cache(maxsize=4096)
def log_stream(history_class: str, partition: int) -> str:
    """Stream name of one partition. Stream names allow fewer characters than subjects, so "%" becomes "=" there."""
    return f"CH_{_token(history_class).replace('%', '=')}_{partition}"


def log_subjects(history_class: str, partition: int) -> tuple[str, str]:
    """What one partition's stream stores, and where it republishes: (`ch.<class>.<p>.>`, `live.<class>.<p>.>`)."""
    middle = f"{_token(history_class)}.{partition}"
    return f"ch.{middle}.>", f"live.{middle}.>"  # RePublish maps ">" to ">", but not "*" to "*"


@lru_cache(maxsize=4096)
def log_address(history_class: str, partitions: int, channel: str) -> LogAddress:
    """Addresses of a channel with history, in a class that has `partitions` partitions."""
    partition = partition_of(channel, partitions)
    stored = f"ch.{_token(history_class)}.{partition}.{_token(channel)}"
    return LogAddress(log_stream(history_class, partition), stored)


@lru_cache(maxsize=4096)
def ephemeral(channel: str) -> str:
    """Subject of a channel without history."""
    return f"eph.{_token(channel)}"


def channel_of(subject: str) -> str:
    """The channel that a `ch.`, `live.` or `eph.` subject belongs to."""
    return _name(subject.rpartition(".")[2])


def session_events(instance: str) -> str:
    """Subject on which one edge process writes its session events, in order."""
    return f"ev.session.{_token(instance)}"


def telemetry(service: str, instance: str) -> str:
    """Subject of one process's heartbeats."""
    return f"tel.{_token(service)}.{_token(instance)}"


def telemetry_of(service: str) -> str:
    """Pattern of the heartbeats of all processes of a service; "*" for every service."""
    return f"tel.{service if service == '*' else _token(service)}.*"


def members(channel: str) -> str:
    """Subject of the joins and leaves of a channel."""
    return f"mem.{_token(channel)}"


KEYS_STREAM: Final = "KEYS"
KEYS_ALL: Final = "key.>"


def idempotency_key(channel: str) -> str:
    """Subject under which a channel without history keeps its idempotency keys: one of 256, as none is ever read."""
    return f"key.{crc32(channel.encode()) % 256}"


ROLL_CALL: Final = "ctl.roll_call"


def edge_control(instance: str) -> str:
    """Subject on which one edge answers the others."""
    return f"ctl.edge.{_token(instance)}"


def rpc(method: str) -> str:
    """Subject of a client's RPC. Dots of a method separate tokens, so a backend can listen on `rpc.orders.>`."""
    return "rpc." + ".".join(_token(part) for part in method.split("."))


def sent_by(user: str) -> str:
    """Subject of the messages that a user's clients send without wanting an answer."""
    return f"send.{_token(user)}"


def hook(event: str) -> str:
    """Subject on which a backend decides about an event: "connect", "subscribe", "publish" or "refresh"."""
    return f"hook.{_token(event)}"


API_ALL: Final = "api.*"
API_QUEUE: Final = "edges"


def api_method(subject: str) -> str:
    """The method that an `api.` subject calls."""
    return _name(subject.removeprefix("api."))


_DIRECT_GET = "$JS.API.DIRECT.GET."
_STREAM_INFO = "$JS.API.STREAM.INFO."


def direct_get(stream: str) -> str:
    """JetStream's direct get, which answers with one stored message or with a batch of them."""
    return _DIRECT_GET + stream


def stream_info(stream: str) -> str:
    """JetStream's answer to what a stream is and how far it has come."""
    return _STREAM_INFO + stream


def is_stream_name(name: str) -> bool:
    """Whether JetStream accepts `name` for a stream."""
    return re.fullmatch(r"[^\s.*>/\\]+", name) is not None
