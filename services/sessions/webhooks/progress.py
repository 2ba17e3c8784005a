"""How far a webhook has come, and what it could not deliver: the shapes that `progress_postgres` stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from services.sessions.log_nats import LogAway, LogState
from services.sessions.store import ORIGIN, Position

MAX_LETTERS: Final = 4096
"""Dead letters that are kept for each webhook. Beyond this number the oldest are removed. Each has little more than
`MAX_BODY_BYTES` at most, so all together take at most 1 GiB."""


class Progress(NamedTuple):
    """How far a webhook has come.

    `at` is the last message of the log of which all events were delivered (`ORIGIN`: the webhook has never run), `part`
    is how many events of the next message were. No events of messages up to `silent_until` are delivered: from these a
    new webhook only learns which connections there are.
    """

    at: Position = ORIGIN
    part: int = 0
    silent_until: int = 0


class Stored(NamedTuple):
    """Everything that is stored about a webhook, including the arguments of `Tracker`."""

    progress: Progress
    rows: Mapping[str, bytes]
    writers: Mapping[str, int]


class Beginning(NamedTuple):
    """Where a webhook begins anew. `keep`: what it knows about connections is still true. `gone`: how many messages of
    the log it has missed for good."""

    progress: Progress
    keep: bool
    gone: int = 0


def beginning_in(state: LogState, at: Progress) -> Beginning | None:
    """Where to begin in a log of this state; None if the webhook goes on from `at`.

    Raises `LogAway` if the log was rolled back: the projector notices that too, and gives it another epoch.
    """
    before_first = Position(state.epoch, max(state.first - 1, 0))  # in a new log, `first` is 0
    if at.at == ORIGIN:
        return Beginning(Progress(before_first, 0, state.last), False)
    if at.at.epoch != state.epoch:
        return Beginning(Progress(before_first), True)
    if state.last < at.at.sequence:
        raise LogAway("the session log was rolled back")
    gone = before_first.sequence - at.at.sequence
    return Beginning(Progress(before_first, 0, state.last), False, gone) if gone > 0 else None


class SetAside(NamedTuple):
    """A request that was given up: its body, how many events it has, and why."""

    body: bytes
    events: int
    reason: str


class WebhookLetter(NamedTuple):
    """A dead letter: `SetAside` with its number, and when it was set aside, in Unix milliseconds."""

    number: int
    webhook: str
    reason: str
    events: int
    body: bytes
    put_aside_at: int
