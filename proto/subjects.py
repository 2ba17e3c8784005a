"""Every NATS subject and stream name, built and parsed here and nowhere else.

A channel, a namespace or an instance is one token of a subject. Channel names may contain dots, spaces, wildcards and
any Unicode, none of which is safe in a token, so names are percent-encoded: `_token` accepts every name, is reversible
and never returns an empty string.

| subject                       | kind                       | what                                              |
|-------------------------------|----------------------------|---------------------------------------------------|
| `ch.<class>.<p>.<channel>`    | stream `CH_<class>_<p>`    | publications of channels with history             |
| `live.<class>.<p>.<channel>`  | RePublish of the above     | the same, live: edges subscribe to this           |
| `ch.<class>.<p>.+<day>`       | the same stream            | one message per day, see `edge.broker.log_index_nats` |
| `ch.<class>.<p>.+check`       | the same stream            | whether it stores, see `edge.broker.stream_gates_nats` |
| `idx.<class>.<p>.<epoch>`     | stream `IDX_<class>_<p>_<epoch>` | the log's index: its messages without bodies |
| `eph.<channel>`               | core NATS                  | publications of channels without history          |
| `mem.<channel>`               | core NATS                  | joins and leaves of a channel, see `proto.members` |
| `mark.<stream>`               | stream `MARKS`             | how far a log has come, kept outside of the log   |
| `key.<hash>`                  | stream `KEYS`              | idempotency keys of channels without history      |
| `key.h.<hash>`                | the same stream            | a key of a channel with history, and its position |
| `ev.session.<instance>`       | stream `SESSIONS`          | facts about sessions, see `proto.events`          |
| `ev.changes`                  | core NATS                  | what a commit of the sessions service changed     |
| `tel.<service>.<instance>`    | core NATS                  | heartbeats, see `proto.telemetry`                 |
| `ctl.edge.<instance>`         | core NATS, request/reply   | requests between edges, see `proto.control`       |
| `ctl.roll_call`               | core NATS                  | an edge is connected (again) and asks for heartbeats |
| `ctl.vouch`                   | core NATS, request/reply   | an edge that starts asks whether a log continues  |
| `rpc.<method>`                | core NATS, request/reply   | a client's RPC, answered by any backend           |
| `send.<user>`                 | core NATS                  | a client's message that needs no answer           |
| `hook.<event>`                | core NATS, request/reply   | a backend decides: connect, subscribe, publish, ...     |
| `api.<method>`                | core NATS, request/reply   | the server API, answered by any edge              |
| `plan.<what>`                 | core NATS, request/reply   | capacity and forecast, answered by any metrics service |
| `rd.<question>`               | core NATS, request/reply   | questions about sessions, to any sessions service |
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple
from urllib.parse import quote, unquote
from zlib import crc32

_SAFE = "-_:"  # besides letters and digits; quote() also keeps "." and "~"
_EMPTY = "%"  # no other name is encoded as a lone percent sign

SESSIONS_STREAM: Final = "SESSIONS"
SESSION_EVENTS_ALL: Final = "ev.session.>"  # the stream's subjects, with room for further tokens

_OF_LOGS: Final = re.compile(r"CH_(.+)_\d+|IDX_(.+)_\d+_[^_]+")


def _token(name: str) -> str:
    return quote(name, safe=_SAFE).replace(".", "%2E").replace("~", "%7E") or _EMPTY


def _name(token: str) -> str:
    return "" if token == _EMPTY else unquote(token)


class LogAddress(NamedTuple):
    """Where the publications of one channel with history are."""

    stream: str  # the JetStream stream
    stored: str  # the subject to which publishers write

    @property
    def live(self) -> str:
        """The subject on which the stream republishes stored messages."""
        return "live" + self.stored.removeprefix("ch")


class IndexAddress(NamedTuple):
    """Where the index of one partition's log is: each epoch of the log has its own stream."""

    stream: str  # the JetStream stream
    prefix: str  # the beginning of the names of the partition's indexes, in any epoch
    delivery: str  # the subject on which the log's stream brings its messages to the index
    daily: str  # the subjects of the daily messages, without the day


def index_address(log_stream: str, stored: str, epoch: str) -> IndexAddress:
    """The index of a log stream whose subjects are `stored` (`ch.<class>.<p>.>`), in an epoch of the log."""
    middle = stored.removeprefix("ch.").removesuffix(".>")
    return IndexAddress(
        index_of(log_stream, epoch), index_of(log_stream, ""), f"idx.{middle}.{_token(epoch)}", f"ch.{middle}.+"
    )


def index_of(log_stream: str, epoch: str) -> str:
    """The stream that holds the index of a log stream, in an epoch of the log."""
    return f"IDX{log_stream.removeprefix('CH')}_{epoch}"


def partition_of(channel: str, partitions: int) -> int:
    """The partition of a channel: crc32 of its UTF-8 name modulo `partitions` (>= 1). Constant for each class."""
    return crc32(channel.encode()) % partitions


@lru_cache(maxsize=4096)
def log_stream(history_class: str, partition: int) -> str:
    """The stream name of one partition. Stream names allow fewer characters than subjects, so "%" becomes "="."""
    return f"CH_{_token(history_class).replace('%', '=')}_{partition}"


LOGS: Final = "CH_"
"""The beginning of the names of all logs' streams."""


def class_of_stream(stream: str) -> str:
    """The history class whose log, or whose index, is in the stream of this name; "" for any other stream."""
    found = _OF_LOGS.fullmatch(stream)
    return _name((found[1] or found[2]).replace("=", "%")) if found else ""


def log_subjects(history_class: str, partition: int) -> tuple[str, str]:
    """The subjects of one partition: stored (`ch.<class>.<p>.>`) and republished (`live.<class>.<p>.>`)."""
    middle = f"{_token(history_class)}.{partition}"
    return f"ch.{middle}.>", f"live.{middle}.>"  # RePublish maps ">" to ">", but not "*" to "*"


@lru_cache(maxsize=4096)
def log_address(history_class: str, partitions: int, channel: str) -> LogAddress:
    """The address of a channel with history, in a class of `partitions` partitions."""
    partition = partition_of(channel, partitions)
    stored = f"ch.{_token(history_class)}.{partition}.{_token(channel)}"
    return LogAddress(log_stream(history_class, partition), stored)


@lru_cache(maxsize=4096)
def ephemeral(channel: str) -> str:
    """The subject of a channel without history."""
    return f"eph.{_token(channel)}"


def channel_of(subject: str) -> str:
    """The channel of a `ch.`, `live.` or `eph.` subject."""
    return _name(subject.rpartition(".")[2])


def session_events(instance: str) -> str:
    """The subject on which one process writes its session events, in order."""
    return f"ev.session.{_token(instance)}"


def writer_of(subject: str) -> str:
    """The process whose session events are on a subject of `SESSION_EVENTS_ALL`."""
    return _name(subject.removeprefix("ev.session."))


def telemetry(service: str, instance: str) -> str:
    """The subject of one process's heartbeats."""
    return f"tel.{_token(service)}.{_token(instance)}"


def telemetry_of(service: str) -> str:
    """The pattern for the heartbeats of all processes of a service; "*" for all services."""
    return f"tel.{service if service == '*' else _token(service)}.*"


def members(channel: str) -> str:
    """The subject of a channel's joins and leaves."""
    return f"mem.{_token(channel)}"


KEYS_STREAM: Final = "KEYS"
KEYS_ALL: Final = "key.>"


MARKS_STREAM: Final = "MARKS"
MARKS_ALL: Final = "mark.*"


def stream_mark(stream: str) -> str:
    """The subject on which edges publish how far they have seen a stream."""
    return f"mark.{stream}"


def metadata_lock(stream: str) -> str:
    """The subject, in `MARKS_STREAM`, by which edges agree on who changes the metadata of a stream."""
    return f"mark.+{stream}"


def marked_stream(subject: str) -> str:
    """The stream of a `mark.` subject."""
    return subject.removeprefix("mark.")


def store_check(stream: str) -> str:
    """The subject of a message that only tests whether a log, or `KEYS_STREAM`, stores messages."""
    if stream == KEYS_STREAM:
        return "key.+check"
    return f"ch.{_token(class_of_stream(stream))}.{stream.rpartition('_')[2]}.+check"


def idempotency_key(channel: str) -> str:
    """The subject for the idempotency keys of a channel without history: one of 256, as no key is looked up by it."""
    return f"key.{crc32(channel.encode()) % 256}"


def stored_key(stream: str, message_id: str) -> str:
    """The subject of one idempotency key of a channel with history, whose log is in `stream`."""
    return f"key.h.{blake2b(f'{stream} {message_id}'.encode(), digest_size=12).hexdigest()}"


ROLL_CALL: Final = "ctl.roll_call"
VOUCH: Final = "ctl.vouch"


def edge_control(instance: str) -> str:
    """The subject on which one edge answers the requests of the others."""
    return f"ctl.edge.{_token(instance)}"


def rpc(method: str) -> str:
    """The subject of a client's RPC. Dots in a method separate tokens, so a backend can subscribe to `rpc.orders.>`."""
    return "rpc." + ".".join(_token(part) for part in method.split("."))


def sent_by(user: str) -> str:
    """The subject of the messages that a user's clients send without needing an answer."""
    return f"send.{_token(user)}"


def hook(event: str) -> str:
    """The subject of the hook for an event: "connect", "subscribe", "publish", "refresh" or "sub_refresh"."""
    return f"hook.{_token(event)}"


API_ALL: Final = "api.*"
API_QUEUE: Final = "edges"
API_PUBLISH: Final = "api.publish"
API_DISCONNECT: Final = "api.disconnect"


def api_method(subject: str) -> str:
    """The method that a request on an `api.` subject calls."""
    return _name(subject.removeprefix("api."))


PLAN_CAPACITY: Final = "plan.capacity"
PLAN_FORECAST: Final = "plan.forecast"
PLAN_QUEUE: Final = "metrics"


SESSION_CHANGES: Final = "ev.changes"
"""Not among `SESSION_EVENTS_ALL`, as no stream keeps these messages."""

READ_ALL: Final = "rd.*"
READ_QUEUE: Final = "sessions"


def read_question(subject: str) -> str:
    """The question that a request on an `rd.` subject asks."""
    return _name(subject.removeprefix("rd."))


INBOX: Final = "_INBOX"


def inbox_prefix(service: str) -> str:
    """The prefix of the subjects for replies to one service. Not below `_INBOX.`, which backends may read by
    default."""
    return f"{INBOX}_fairlead_{service}"


OUTBOX_INBOX: Final = f"{INBOX}_outbox"
"""The prefix for replies to the outbox. It calls the server API, and edges send no answers to inboxes of services."""


PRIVACY_INBOX: Final = f"{INBOX}_privacy"
"""The prefix for replies to exports and erasures of users, which call the server API too."""


_OURS: Final = (
    "ch",
    "live",
    "idx",
    "eph",
    "mem",
    "mark",
    "key",
    "ev",
    "tel",
    "ctl",
    "rpc",
    "send",
    "hook",
    "api",
    "plan",
    "rd",
)


def is_of_fairlead(subject: str) -> bool:
    """Whether it is a subject of the table above, or of JetStream's API. All others are inboxes."""
    return subject.startswith("$JS.") or subject.partition(".")[0] in _OURS


def may_be_answered(reply: str) -> bool:
    """Whether the answer to a request may be sent to the subject `reply`: only if it is an inbox of the requester.

    Otherwise a requester could have the responder write to subjects to which it may not write itself.
    """
    return not reply.startswith(("$", f"{INBOX}_fairlead_")) and not is_of_fairlead(reply)


def is_chosen_by_clients(subject: str) -> bool:
    """Whether clients choose a part of the subject other than a channel: the method of an RPC, or their own name."""
    return subject.partition(".")[0] in ("rpc", "send")


_DIRECT_GET = "$JS.API.DIRECT.GET."
_STREAM_INFO = "$JS.API.STREAM.INFO."
JETSTREAM_API: Final = "$JS.API."
STREAM_NAMES: Final = "$JS.API.STREAM.NAMES"
STREAM_LIST: Final = "$JS.API.STREAM.LIST"
ACCOUNT_INFO: Final = "$JS.API.INFO"
"""Where JetStream lists the names of the streams."""


def stream_create(stream: str) -> str:
    """The subject on which JetStream creates a stream. nats-py's type of its configuration lacks durable sources."""
    return f"$JS.API.STREAM.CREATE.{stream}"


def stream_update(stream: str) -> str:
    """The subject on which JetStream changes the limits of a stream."""
    return f"$JS.API.STREAM.UPDATE.{stream}"


def stream_delete(stream: str) -> str:
    """The subject on which JetStream deletes a stream."""
    return f"$JS.API.STREAM.DELETE.{stream}"


def message_delete(stream: str) -> str:
    """The subject on which JetStream deletes one message of a stream, and overwrites it on the disk."""
    return f"$JS.API.STREAM.MSG.DELETE.{stream}"


def consumer_create(stream: str, consumer: str) -> str:
    """The subject on which JetStream creates a consumer of a stream."""
    return f"$JS.API.CONSUMER.CREATE.{stream}.{consumer}"


def consumer_info(stream: str, consumer: str) -> str:
    """The subject on which JetStream replies with the state of a consumer."""
    return f"$JS.API.CONSUMER.INFO.{stream}.{consumer}"


def consumer_list(stream: str) -> str:
    """The subject on which JetStream lists the consumers of a stream, with the state of each."""
    return f"$JS.API.CONSUMER.LIST.{stream}"


def consumer_delete(stream: str, consumer: str) -> str:
    """The subject on which JetStream deletes a consumer of a stream."""
    return f"$JS.API.CONSUMER.DELETE.{stream}.{consumer}"


AUDIT: Final = "$JS.EVENT.ADVISORY.API"
"""Where JetStream reports the requests to its API, whoever sent them; only while somebody listens."""
_REMOVAL: Final = re.compile(rb'"subject":"\$JS\.(?:[^".]+\.)?API\.STREAM\.(?:PURGE|MSG\.DELETE)\.([^".]+)"')
"""The subject contains a domain if the server is in a JetStream domain."""


def audited_removal(advisory: bytes) -> str:
    """The stream from which an audited request removed messages; "" for any other request, and there are many."""
    if b"API.STREAM.PURGE." not in advisory and b"API.STREAM.MSG.DELETE." not in advisory:
        return ""
    found = _REMOVAL.search(advisory)
    return "" if found is None else found[1].decode(errors="replace")


_ADVISORY = "$JS.EVENT.ADVISORY.STREAM."
STREAM_CHANGES: Final = f"{_ADVISORY}UPDATED.*"
"""Where JetStream reports that the limits of a stream have changed."""
STREAM_ADVISORIES: Final = tuple(f"{_ADVISORY}{what}.*" for what in ("CREATED", "DELETED", "RESTORE_COMPLETE"))
"""Where JetStream reports that a stream was made, deleted or restored, whoever did it."""


LEADERS_ELECTED: Final = f"{_ADVISORY}LEADER_ELECTED.*"
"""Where a cluster reports that a stream has a leader: a new one, or one again."""


def advised_stream(subject: str) -> tuple[str, bool]:
    """The stream of an advisory, and whether it was deleted."""
    what, _, stream = subject.removeprefix(_ADVISORY).partition(".")
    return stream, what == "DELETED"


def direct_get(stream: str) -> str:
    """The subject of JetStream's direct get, which replies with one stored message or a batch of them."""
    return _DIRECT_GET + stream


def stream_info(stream: str) -> str:
    """The subject on which JetStream replies with a stream's configuration and state."""
    return _STREAM_INFO + stream
