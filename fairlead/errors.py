"""What calls and checks raise.

FairleadError
├── CallRefused    an edge refused the call, or the API key: trying again gives the same answer
├── Unavailable    no edge answered in time: it is not known whether the call was carried out
├── BadAnswer      the answer is not from an edge: the address is wrong
└── BadSignature   a question or an event does not come from Fairlead, or is too old
"""

from __future__ import annotations


class FairleadError(Exception):
    """The base of all errors of this package."""


class CallRefused(FairleadError):
    """`code` is an error code of the server API (docs/server-api.md) or an HTTP status, `message` the edge's text."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method}: {code} {message}")
        self.method = method
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[CallRefused], tuple[str, int, str]]:
        return type(self), (self.method, self.code, self.message)


class Unavailable(FairleadError):
    """You may repeat a publish with the same idempotency key: it is published once, whatever happened to this call."""


class BadAnswer(FairleadError):
    """The text says what was received instead of an answer."""


class BadSignature(FairleadError):
    """The text says what is wrong with the signature, and contains nothing of the secret or the body."""
