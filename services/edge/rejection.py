"""The one way in which a check says no: an exception, caught once where a command or a call is answered. Pure."""

from __future__ import annotations

from proto.codes import ErrorCode


class Rejected(Exception):
    """A client's command or a backend's call is answered with `error`.

    `why` says what is wrong with it. It goes to the log for a client's command, and into the answer for a backend's
    call. Clients get the error's code and message alone. `hint` takes its place in the log, where operators read it.
    """

    def __init__(self, error: ErrorCode, why: str = "", *, hint: str = "") -> None:
        super().__init__(f"{error.message}: {why}" if why else error.message)
        self.error = error
        self.why = hint or why

    @property
    def for_log(self) -> str:
        """The code, the message, and what is wrong."""
        return f"{self.error.code} {self.error.message}{f': {self.why}' if self.why else ''}"
