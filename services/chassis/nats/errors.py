"""How a connection to NATS fails."""

from __future__ import annotations


class NatsAway(Exception):
    """NATS cannot be reached now, did not answer in time, or does not keep up. Trying again later may succeed."""


class NobodyAnswers(NatsAway):
    """NATS says at once that nobody listens on the subject of a request: whoever did is gone, or not there yet."""


class NatsRefused(Exception):
    """NATS answered that it will not do this. Trying again the same way will not succeed."""
