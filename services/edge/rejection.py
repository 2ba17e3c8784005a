"""The exception by which a check rejects a command or a call. It is caught once, where the answer is made. Pure."""

from __future__ import annotations

from msgspec import Raw

from proto import codes
from proto.codec import is_too_deep
from proto.codes import ErrorCode
from proto.nesting import TooDeep


class Rejected(Exception):
    """A client's command or a backend's call is answered with `error`.

    `why` names what is wrong with it. It goes to the log for a client's command, and into the answer for a backend's
    call. Clients get only the error's code and message. `hint` replaces `why` in the log, for operators.
    """

    def __init__(self, error: ErrorCode, why: str = "", *, hint: str = "") -> None:
        super().__init__(f"{error.message}: {why}" if why else error.message)
        self.error = error
        self.why = hint or why

    @property
    def for_log(self) -> str:
        """The message and what is wrong. The code is a field of the record."""
        return f"{self.error.message}: {self.why}" if self.why else self.error.message


def check_nesting(data: Raw) -> None:
    """Raises `Rejected` for a payload that nests deeper than every reader can follow."""
    if is_too_deep(bytes(data)):
        raise Rejected(codes.BAD_REQUEST, str(TooDeep()))
