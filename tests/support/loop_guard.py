"""Collects the unhandled exceptions of event loops: the default exception handler logs them as "asyncio"."""

from __future__ import annotations

import logging


class Unhandled(logging.Handler):
    """`reports` holds each report's text."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.reports: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.reports.append(self.format(record))
