"""What calls and checks raise.

FairleadError
├── CallRefused    an edge, or the API key, says no: asking again gives the same answer
├── Unavailable    no edge answered in time: it is not known whether the call was carried out
├── BadAnswer      something else than an edge answered: the address is wrong
└── BadSignature   a question or an event is not Fairlead's, or is an old one
"""

from __future__ import annotations


class FairleadError(Exception):
    """Any of them."""


class CallRefused(FairleadError):
    """`code` is an error of the server API (docs/server-api.md) or an HTTP status, `message` the edge's own words."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method}: {code} {message}")
        self.method = method
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[CallRefused], tuple[str, int, str]]:
        return type(self), (self.method, self.code, self.message)


class Unavailable(FairleadError):
    """Repeat a publish with the same idempotency key: then it is published once, whatever happened to this call."""


class BadAnswer(FairleadError):
    """The text says what came instead of an answer."""


class BadSignature(FairleadError):
    """The text says what is wrong with the signature, and holds nothing of the secret or the body."""
