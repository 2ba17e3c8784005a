"""What the projector logs for operators: why it waits, and what it leaves out. The rate is bounded, whatever comes.
Pure: times are arguments, in seconds of any clock."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from services.sessions.entries import DeadLetter
from services.sessions.overtaken import Overtaken

SAY_AGAIN_S: Final = 60.0
"""How often the same reason to wait is logged."""

SAY_ANOTHER_S: Final = 5.0
"""How soon another reason is logged; each further one after twice the time, until the log is followed again. Reasons
may alternate: on a full disk each names the file that could not grow."""

SAY_LOSSES_S: Final = 10.0
"""How often the log says what is left out."""

_MAX_TYPES: Final = 10
_MAX_TYPE: Final = 40  # characters
_UPGRADE: Final = "upgrade this service, then `python -m services.sessions dead-letters replay all` folds them"
_NO_ROOM: Final = (
    "; there was no room for those of {} messages: "
    "after the upgrade, `python -m services.sessions rebuild all` folds them, too"
)

log = logging.getLogger(__name__)


class Waiting:
    """Why the log is not followed now: `problem`, which is None while it is."""

    def __init__(self) -> None:
        self.problem: str | None = "starting"
        self._said = ""
        self._said_at = float("-inf")
        self._another_s = SAY_ANOTHER_S
        self._gave_way_at = float("-inf")

    def waits(self, problem: str, now: float) -> None:
        """The log cannot be followed, because of `problem`."""
        self.problem = problem
        if now - self._said_at >= (SAY_AGAIN_S if problem == self._said else self._another_s):
            log.warning("the session log cannot be followed now, retrying: %s", problem)
            if self._said not in ("", problem):
                self._another_s = min(2 * self._another_s, SAY_AGAIN_S)
            self._said, self._said_at = problem, now

    def gives_way(self, sequence: int, now: float) -> None:
        """Another instance of this service folds the log, and has come to `sequence`."""
        if now - self._gave_way_at >= SAY_AGAIN_S:
            log.info("another instance of this service folds the session log, and has come to message %d", sequence)
            self._gave_way_at = now

    def follows(self, sequence: int) -> None:
        """The log is followed; everything up to `sequence` is in the store."""
        if self.problem is not None:
            log.info("following the session log from message %d", sequence + 1)
            self.problem, self._another_s = None, SAY_ANOTHER_S


class Losses:
    """What is left out of the rows: the first dead letter is logged at once, later ones together every `SAY_LOSSES_S`;
    and likewise facts of unknown types, and messages that the log dropped."""

    def __init__(self) -> None:
        self._letters = 0
        self._first: DeadLetter | None = None
        self._letters_said_at = float("-inf")
        self._types: Counter[str] = Counter()
        self._without_room = 0
        self._overtaken = 0
        self._dropped = Overtaken(0, 0)
        self._overtaken_said_at = float("-inf")
        self._types_said_at = float("-inf")

    def add(self, letters: Sequence[DeadLetter], types: Iterable[str], without_room: int = 0) -> None:
        """These letters were set aside, except `without_room` of them, and among them facts of these unknown types."""
        bad = [one for one in letters if not one.newer]
        if bad and self._first is None:
            self._first = bad[0]
        self._letters += len(bad)
        self._without_room += without_room
        for name in types:
            known = name[:_MAX_TYPE]
            self._types[known if known in self._types or len(self._types) < _MAX_TYPES else "others"] += 1

    def add_overtaken(self, messages: int, stretches: Sequence[Overtaken]) -> None:
        """This many `messages` of these stretches went from the log before they were folded."""
        if messages:
            first = self._dropped.first if self._overtaken else stretches[0].first
            self._overtaken, self._dropped = self._overtaken + messages, Overtaken(first, stretches[-1].last)

    def say(self, now: float) -> None:
        """Logs what has not been logged, if it is time."""
        if self._first is not None and now - self._letters_said_at >= SAY_LOSSES_S:
            log.error(
                "message %d of the session log was set aside, and %d more: %s; "
                "`python -m services.sessions dead-letters` lists and replays them",
                self._first.sequence,
                self._letters - 1,
                self._first.reason,
            )
            self._letters, self._first, self._letters_said_at = 0, None, now
        if self._overtaken and now - self._overtaken_said_at >= SAY_LOSSES_S:
            log.error(
                "the session log lacks messages that were not folded: %d, between %d and %d. Their facts are "
                "in no table, and connections that they ended stay open there until their edge ends. The log dropped "
                "them (see sessions.log_max_age and sessions.log_max_bytes), or they were deleted, as by an erasure "
                "after the backup from which PostgreSQL was restored",
                self._overtaken,
                *self._dropped,
            )
            self._overtaken, self._overtaken_said_at = 0, now
        if self._types and now - self._types_said_at >= SAY_LOSSES_S:
            types = ", ".join(f"{count} {name!r}" for name, count in self._types.most_common())
            more = _NO_ROOM.format(self._without_room) if self._without_room else ""
            log.warning(
                "facts of types that this version does not know were set aside: %s; %s%s", types, _UPGRADE, more
            )
            self._types.clear()
            self._without_room, self._types_said_at = 0, now
