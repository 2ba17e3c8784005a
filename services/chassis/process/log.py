"""The log of a process: one line a record on standard error, as text for people or as JSON for machines.

The message is complete for a reader. What a machine should be able to search by is given beside it, as in
`log.info("...", extra={"user": user, "client": client_id, "channel": channel})`: the JSON form has each of these as a
field of its own, the text form leaves them out. A line that is logged while something is traced has `trace_id` and
`span_id` there. Settings, tokens and payloads are never logged, so no secret gets here.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Final

import msgspec

from services.chassis.process.settings import LogSettings
from services.chassis.tracing.span import ACTIVE


class _TextFormatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self, process: str) -> None:
        name = process.replace("%", "%%")  # it becomes part of a format
        super().__init__(f"%(asctime)s.%(msecs)03dZ %(levelname)-7s {name}: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")


_OF_EVERY_RECORD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_OWN_FIELDS: Final = frozenset({"time", "level", "process", "logger", "message", "exception"})
_NOT_EXTRA: Final = _OF_EVERY_RECORD | _OWN_FIELDS


class JsonFormatter(logging.Formatter):
    """One object a line: `_OWN_FIELDS`, and whatever `extra` has besides. A value that is not JSON is given as text."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        span = ACTIVE.get()
        if span is not None:
            entry["trace_id"], entry["span_id"] = span.context.trace_id, span.context.span_id
        for name in record.__dict__.keys() - _NOT_EXTRA:
            entry[name] = record.__dict__[name]
        return msgspec.json.encode(entry, enc_hook=str).decode()


def configure(settings: LogSettings, process: str) -> None:
    """Sets up logging for this process. `process`, such as "edge-1", appears in every line. Call it once, first."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(process) if settings.format == "json" else _TextFormatter(process))
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.access").disabled = True
    for noisy in ("nats", "httpx", "httpcore", "alembic", "urllib3", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))


class Throttle:
    """Lets a line into the log at most `burst` times in `per_s` seconds, and counts the lines that it suppressed.

    For events that strangers can cause: they must be visible, but must not fill a disk.
    """

    def __init__(self, burst: int = 5, per_s: float = 10.0) -> None:
        self._burst, self._per_s = burst, per_s
        self._began = -per_s
        self._said = 0
        self._held = 0

    def allows(self, now: float) -> int | None:
        """None if the line is to be suppressed; otherwise how many were suppressed before it. `now` is any clock, in
        seconds."""
        if now - self._began >= self._per_s:
            self._began, self._said = now, 0
        if self._said >= self._burst:
            self._held += 1
            return None
        self._said += 1
        held, self._held = self._held, 0
        return held
