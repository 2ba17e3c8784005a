"""The ways in which calls to NATS fail."""

from __future__ import annotations


class NatsAway(Exception):
    """NATS is unreachable, did not answer in time, or does not keep up. Trying again later may succeed."""


class NobodyAnswers(NatsAway):
    """NATS reports at once that the subject of a request has no subscriber, any more or yet."""


class NatsRefused(Exception):
    """NATS refuses the call. Repeating it unchanged will not succeed."""
