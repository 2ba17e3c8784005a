"""The exceptions of stock clients, and those that an application's callbacks may raise."""

from __future__ import annotations


class CommandFailed(Exception):
    """The client's own error for a call. The server's code, or the SDK's own, which are below 100."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code


class Unauthorized(Exception):
    """Raised by a callback that is asked for a token: there is none, and there will be none."""


class TokensAway(Exception):
    """Raised by a callback that is asked for a token: not now."""
