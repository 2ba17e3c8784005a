"""Answers questions from HTTP and NATS: reads the parameters, waits for a position, and turns errors into answers.

An answer has the position that the rows had before it was read: it may be newer than it says, never older. Its tag is
made of the question and of everything that can change the answer, the version of this software included, so a caller
with an answer of this tag has the present one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from services.chassis.postgres.errors import StoreAway
from services.chassis.process.heartbeat import VERSION
from services.sessions.api.parameters import (
    AT,
    FROM,
    TO,
    BadParameter,
    Parameter,
    Values,
    read_all,
)
from services.sessions.api.positions import PositionReader, Standing, position_of, position_text
from services.sessions.api.questions import Question
from services.sessions.api.reader_postgres import STATEMENT_S, TooSlow
from services.sessions.api.views import Failure, Problem
from services.sessions.queries.periods import FIRST_DAY, LAST_DAY, MINUTE_S, ceiling

log = logging.getLogger(__name__)

ANSWER_DEADLINE_S: Final = 9.0
"""Below the 9.5 s that Traefik waits, and the 10 s after which clients give up."""

POSITION_WAIT_S: Final = 5.0
"""For how long a question waits for the position that it names."""

_AS_WRITTEN: Final = "%Y-%m-%dT%H:%M:%SZ"

CLOCKS_DIFFER: Final = timedelta(seconds=10)
"""A moment that is no further ahead of this machine's clock may be the present by another clock."""

AFTER_POSITION: Final = Parameter(
    "after_position",
    "Answer from rows that have everything up to this position, `epoch:sequence`, such as Fairlead-Position of another "
    f"answer; waits up to {POSITION_WAIT_S:g} s. Also taken as a header of the same name as that of answers.",
    {"type": "string"},
    position_of,
)

_SMALLEST: Final = timedelta(microseconds=1)

MAX_PERIOD: Final = timedelta(days=366)
"""The longest period of a question."""


Answered = Callable[[str, str, int, float], None]
"""Called for each answer: with the question's name, the way ("http" or "nats"), the status, and the seconds that it
took. A question that does not exist has the name `UNKNOWN`."""

UNKNOWN: Final = "(unknown)"


def to_nobody(question: str, way: str, status: int, seconds: float) -> None:
    """Does nothing, where answers are not counted."""


class Answer(NamedTuple):
    """A status as HTTP has it, the body in JSON, and its position and tag: "" if it has none. `kept_since`: what ended
    before this time may be missing; "" if all is kept, or nothing was read."""

    status: int
    body: bytes
    position: str = ""
    tag: str = ""
    kept_since: str = ""


class Calls:
    """Answers questions from the rows whose position `positions` reads, and which are kept for `keep_s` seconds after
    the end of a session; 0: for ever. `version` is that of this software."""

    def __init__(
        self,
        positions: PositionReader,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        version: str = VERSION,
        keep_s: float = 0,
    ) -> None:
        self._keep = timedelta(seconds=keep_s)
        self._positions = positions
        self._now = now
        self._version = version

    async def answer(self, question: Question, given: Iterable[tuple[str, str]], known_tags: str = "") -> Answer:
        """The answer. With status 304, and no body, if its tag is in `known_tags` (If-None-Match),
        or these are "*"."""
        try:
            async with asyncio.timeout(ANSWER_DEADLINE_S):
                return await self._answer(question, list(given), known_tags)
        except TimeoutError:
            return failure(503, f"PostgreSQL did not answer within {ANSWER_DEADLINE_S:g} s; try again")
        except BadParameter as error:
            return failure(400, f"{error.parameter}: {error}", error.parameter)
        except StoreAway as error:
            return failure(503, f"{error}; try again")
        except Exception:  # also over NATS, where nothing else would answer
            log.exception("no answer to the question %s", question.name)
            return failure(500, "the sessions service failed to answer; its log says why")

    async def _answer(self, question: Question, given: list[tuple[str, str]], known_tags: str) -> Answer:
        values = self.read(given, (*question.parameters, AFTER_POSITION))
        if question.period is not None:
            fill_period(values, question.period, self._now())
        if question.of_a_moment:
            values.setdefault(AT.name, self._now())
        standing = await self.standing(values)
        if isinstance(standing, Answer):
            return standing
        position, tag = position_text(standing.position), self._tag(question, given, values, standing)
        if tag and (tag in known_tags or known_tags.strip() == "*"):
            return Answer(304, b"", position, tag, self.kept_since)
        try:
            found = await question.answer(values)
        except TooSlow:
            return failure(503, too_slow(question, values))._replace(position=position)
        if found is None:
            return failure(404, question.missing.format(**values))._replace(position=position)
        return Answer(200, msgspec.json.encode(found), position, tag, self.kept_since)

    @property
    def kept_since(self) -> str:
        """What ended before this time may have been removed; "" if nothing is."""
        if not self._keep:
            return ""
        return f"{ceiling(self._now() - self._keep, 1):{_AS_WRITTEN}}"

    async def standing(self, values: Values) -> Standing | Answer:
        """Where the rows stand, once they have reached `after_position`; or the answer if they do not reach it in time,
        or never will."""
        wanted = values.get(AFTER_POSITION.name)
        if wanted is None:
            return await self._positions.standing()
        standing = await self._positions.reaches(wanted, POSITION_WAIT_S)
        if standing.has(wanted):
            return standing
        position, name = position_text(standing.position), AFTER_POSITION.name
        if standing.is_of_another_log(wanted):
            why = f"{position_text(wanted)} belongs to another session log than the rows, which are at {position}"
            answer = failure(409, f"{name}: {why}: ask without it, and go on from the position of that answer", name)
        else:
            why = f"the rows are at {position} and did not reach {position_text(wanted)} within {POSITION_WAIT_S:g} s"
            answer = failure(503, f"{why}; try again")
        return answer._replace(position=position)

    def read(self, given: Iterable[tuple[str, str]], known: Sequence[Parameter]) -> Values:
        """The values of parameters. Raises `BadParameter`, also for a moment in the future, and for a period that
        begins in the future."""
        values, now = read_all(given, known), self._now()
        for name in (AT.name, FROM.name):
            if values.get(name, now) > now + CLOCKS_DIFFER:
                raise BadParameter(name, f"expected a time in the past: it is {now:{_AS_WRITTEN}} here")
        return values

    def _tag(self, question: Question, given: list[tuple[str, str]], values: Values, standing: Standing) -> str:
        if not standing.mark:
            return ""
        when = tuple(values.get(name) for name in (FROM.name, TO.name, AT.name))  # as it was filled in
        asked = sorted((name, value) for name, value in given if name != AFTER_POSITION.name)
        told = repr((self._version, question.name, asked, when, standing.mark))
        digest = blake2b(told.encode(errors="surrogatepass"), digest_size=9).hexdigest()
        return f'W/"{standing.position.epoch}-{standing.position.sequence}-{digest}"'


def too_slow(question: Question, values: Values) -> str:
    """The message for a question that PostgreSQL could not answer in time."""
    return f"PostgreSQL did not find the answer within {STATEMENT_S:g} s: {question.narrower(values)}"


def fill_period(values: Values, usual: timedelta, now: datetime) -> None:
    """Completes the period that a question is about. By default it ends with the present minute, or with the minute of
    the moment `at`: no session that was there at that moment was opened later.

    Raises `BadParameter` for a period that ends before it begins, begins in the future, or is too long; the error names
    a parameter that was given.
    """
    since, until, at = values.get(FROM.name), values.get(TO.name), values.get(AT.name)
    if until is None:
        if since is not None and at is not None and since > at:
            raise BadParameter(FROM.name, "expected a time before `at`, with which the period ends")
        # The moment itself belongs to the period, even at the start of a minute. The caller's clock may be ahead.
        latest = max(at or now, since or FIRST_DAY) + _SMALLEST
        until = min(ceiling(latest, MINUTE_S), LAST_DAY)
    if since is None:
        since = max(until, FIRST_DAY + usual) - usual
        if since >= until:
            raise BadParameter(TO.name, "expected a later time")
        if since > now + CLOCKS_DIFFER:
            hours = usual // timedelta(hours=1)
            why = f"the {hours} hours before it have not begun, it is {now:{_AS_WRITTEN}} here"
            raise BadParameter(TO.name, f"expected an earlier time, or `from`: {why}")
    if until <= since:
        raise BadParameter(TO.name, "expected a time after `from`")
    if until - since > MAX_PERIOD:
        raise BadParameter(FROM.name, f"expected a period of at most {MAX_PERIOD.days} days")
    values[FROM.name], values[TO.name] = since, until


def failure(status: int, message: str, parameter: str | None = None) -> Answer:
    """An answer that says what was wrong."""
    return Answer(
        status, msgspec.json.encode(Failure(error=Problem(code=status, message=message, parameter=parameter)))
    )
