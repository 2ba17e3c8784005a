"""The `SESSIONS` stream: what edges write and the sessions service reads, as one configuration for both.

Whoever comes first makes it. Its limits belong to the sessions service: an edge calls `ensure_stream(link,
session_log(), update=False)`, so that a restarted edge does not undo a retention that an operator chose there.
"""

from __future__ import annotations

from nats.js.api import RetentionPolicy, StorageType, StreamConfig

from proto import subjects
from services.chassis.process.settings import SESSION_LOG_MAX_AGE_S

DUPLICATE_WINDOW_S = 120.0
"""How long JetStream itself drops a batch that is sent twice; the sessions service drops later ones by number."""


def session_log(max_age_s: float = SESSION_LOG_MAX_AGE_S) -> StreamConfig:
    """The stream's configuration; facts older than `max_age_s` seconds are dropped from the log."""
    return StreamConfig(
        name=subjects.SESSIONS_STREAM,
        subjects=[subjects.SESSION_EVENTS_ALL],
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS,
        max_age=max_age_s,
        duplicate_window=DUPLICATE_WINDOW_S,
        allow_direct=True,
    )
