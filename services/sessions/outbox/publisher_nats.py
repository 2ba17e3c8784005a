"""Publishes rows of the outbox by the server API over NATS, so that edges check them like all other publications."""

from __future__ import annotations

from typing import Final

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, NobodyAnswers, NotPermitted
from services.sessions.outbox.rows import TOO_LARGE, NotNow, Outcome, Row, call_of, outcome_of

ANSWER_S: Final = 5.0
"""Edges answer a publish within 4 s."""
_HEADERS: Final = 2048
"""Bytes that an edge adds at most to what it publishes: more than the key and the channel's name."""


class OutboxPublisher:
    """Publishes through any edge of the cluster."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link

    @property
    def available(self) -> bool:
        """Whether there is a connection to NATS."""
        return self._link.is_connected

    async def publish(self, row: Row, key_age_s: float | None) -> Outcome:
        """Publishes a row once, however often it is called. `key_age_s`: see `call_of`."""
        body = call_of(row, key_age_s)
        if body is None or len(body) + _HEADERS > self._link.max_payload:
            return TOO_LARGE
        if not self.available:
            return NotNow("there is no connection to NATS", sent=False)
        try:
            _, answer = await self._link.request(subjects.API_PUBLISH, body, timeout_s=ANSWER_S)
        except (NobodyAnswers, NotPermitted) as error:
            return NotNow(f"no edge answers: {error}", sent=False)
        except NatsAway as error:
            return NotNow(f"no edge answers: {error}")
        except NatsRefused as error:
            return NotNow(str(error), sent=False)
        return outcome_of(answer)
