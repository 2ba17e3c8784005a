"""The ways in which calls to NATS fail."""

from __future__ import annotations

from typing import Literal

Cause = Literal["away", "timeout", "busy", "full", "storage", "too_large", "refused"]
"""Why a call failed, as metrics count it. For `NatsAway`: "away" (no connection, nobody answers), "timeout" (no answer
in time), "busy" (too much waits already), "refused" (not permitted). For `NatsRefused`: "full" (the stream is at its
own limit), "storage" (the server's disk, or its limits for all streams), "too_large", or otherwise "refused"."""


class NatsAway(Exception):
    """NATS is unreachable, did not answer in time, or does not keep up. Trying again later may succeed."""

    def __init__(self, text: str, cause: Cause = "away") -> None:
        super().__init__(text)
        self.cause: Cause = cause


class NotPermitted(NatsAway):
    """NATS does not permit the call to the user of this process. An operator may permit it later; NATS does not
    announce that."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "refused")


class NobodyAnswers(NatsAway):
    """NATS reports at once that the subject of a request has no subscriber: not yet, or not any longer."""


class NatsRefused(Exception):
    """NATS refuses the call. Repeating it unchanged will not succeed."""

    def __init__(self, text: str, cause: Cause = "refused") -> None:
        super().__init__(text)
        self.cause: Cause = cause
