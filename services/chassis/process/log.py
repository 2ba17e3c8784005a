"""The log of a process: one line a record on standard error, as text for people or as JSON for machines.

A record has a message and fields (`log_fields.about`). In JSON each field is a member of the object; in text the fields
follow the message as `name=value`. What is logged while something is traced has the fields `trace_id` and `span_id`.
Settings, tokens and payloads are never logged, so no secret gets here.
"""

from __future__ import annotations

import logging
import sys
import textwrap
import time
from collections import Counter
from typing import Any, Final

import msgspec

from services.chassis.process.log_fields import cut, one_line, written
from services.chassis.process.settings import LogSettings
from services.chassis.tracing.span import ACTIVE

_OF_EVERY_RECORD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_OWN_FIELDS: Final = frozenset({"time", "level", "process", "logger", "message", "exception"})
_NOT_EXTRA: Final = _OF_EVERY_RECORD | _OWN_FIELDS


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    fields = {name: value for name, value in record.__dict__.items() if name not in _NOT_EXTRA}
    span = ACTIVE.get()
    if span is not None:
        fields |= {"trace_id": span.context.trace_id, "span_id": span.context.span_id}
    return fields


class TextFormatter(logging.Formatter):
    """One line for each record: time, level, process, message, and the fields of `extra`. The lines of a traceback
    follow, indented, so that no text of an exception looks like a record."""

    converter = staticmethod(time.gmtime)

    def __init__(self, process: str) -> None:
        name = process.replace("%", "%%")  # it becomes part of a format
        super().__init__(f"%(asctime)s.%(msecs)03dZ %(levelname)-7s {name}: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.message)
        return super().formatMessage(record) + written(_fields_of(record))

    def formatException(self, ei: Any) -> str:
        return textwrap.indent(super().formatException(ei), "    ", lambda line: True)


class JsonFormatter(logging.Formatter):
    """One object per line: `_OWN_FIELDS`, and the other fields of `extra`. A value that is not JSON becomes text."""

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
        entry |= {name: cut(value) for name, value in _fields_of(record).items()}
        return msgspec.json.encode(entry, enc_hook=str).decode()


def configure(settings: LogSettings, process: str, is_quiet: bool = False) -> None:
    """Sets up logging for this process. `process`, such as "edge-1", appears in every line. `is_quiet`: level "info"
    counts as "warning". Call it once, before anything else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(process) if settings.format == "json" else TextFormatter(process))
    level = "warning" if is_quiet and settings.level == "info" else settings.level
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.access").disabled = True
    for noisy in ("nats", "httpx", "httpcore", "alembic", "urllib3", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.getLogger("asyncio").addFilter(_means_something)


def _means_something(record: logging.LogRecord) -> bool:
    """False for what uvloop logs about the end of each TLS connection to NATS: nats-py's stream does not know that it
    is TLS."""
    return not str(record.msg).startswith("returning true from eof_received()")


class Throttle:
    """Lets a line into the log at most `burst` times in `per_s` seconds, and counts the lines that it suppressed.

    For events that strangers can cause: they must be visible, but must not fill a disk. No stranger may hide the events
    of others either: at most `each` lines about one of them are let through in that time.
    """

    def __init__(self, burst: int = 10, per_s: float = 10.0, each: int = 5) -> None:
        self._burst, self._per_s, self._each = burst, per_s, each
        self._began = -per_s
        self._said = 0
        self._said_of: Counter[str] = Counter()
        self._held = 0

    def allows(self, now: float, who: str = "") -> int | None:
        """None if the line is to be suppressed; otherwise how many were suppressed before it. `now` is any clock, in
        seconds; `who` names the cause of the event, "" for nobody in particular."""
        if now - self._began >= self._per_s:
            self._began, self._said = now, 0
            self._said_of.clear()
        if self._said >= self._burst or (who and self._said_of[who] >= self._each):
            self._held += 1
            return None
        self._said += 1
        self._said_of[who] += 1
        held, self._held = self._held, 0
        return held

    def forget(self, now: float) -> None:
        """Forgets who caused lines, if the time for which they were counted is over. How many were suppressed stays."""
        if now - self._began >= self._per_s:
            self._said_of.clear()
