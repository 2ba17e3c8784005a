"""A caution for answers about a time from which a part is no longer kept."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from services.sessions.commands.channels import ChannelList
from services.sessions.commands.question import Question
from services.sessions.commands.screen import Screen, spoken
from services.sessions.commands.versions import VersionReport
from services.sessions.queries.presence_postgres import Present
from services.sessions.queries.present_counts_postgres import PresentCounts
from services.sessions.queries.timeline_postgres import Timeline
from services.sessions.queries.users_postgres import KnownUser


def caution(answer: Any, question: Question, screen: Screen) -> str:
    """The caution; "" if the answer is whole, as everything that it is about is kept."""
    begins = _begins(answer, question)
    if not question.keep_s or begins is None:
        return ""
    kept = timedelta(seconds=question.keep_s)
    if begins >= question.now - kept:
        return ""
    since = screen.time(question.now - kept)
    return (
        f"This may not be all: what ended, or was counted, before {since} is no longer kept (sessions.keep is"
        f" {spoken(kept)})."
    )


def _begins(answer: Any, question: Question) -> datetime | None:
    """The first moment that the answer is about; None if it is about the present, or about one subject."""
    if isinstance(answer, Present | PresentCounts):
        return answer.at
    if isinstance(answer, VersionReport) and answer.compared:
        return answer.versions.before.since
    if isinstance(answer, Timeline | KnownUser) or (isinstance(answer, ChannelList) and answer.period is None):
        return None
    return question.period.since
