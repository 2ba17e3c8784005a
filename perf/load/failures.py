"""Why a connection failed or was lost, as a short text by which reports count. Pure.

The texts name who is at fault: "local: ..." is this machine or the generator itself, everything else is the server or
the proxy.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Mapping

MAX_CAUSES = 64
"""The most distinct causes in one report: a server that gives each client a different reason must not fill the
memory."""

OTHER = "other"

_LOCAL = {
    errno.EMFILE: "local: no file descriptor left",
    errno.ENFILE: "local: no file descriptor left on the machine",
    errno.EADDRNOTAVAIL: "local: no free source port",
    errno.ENOBUFS: "local: no buffer space",
}
_REMOTE = {errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset", errno.EPIPE: "reset", errno.ETIMEDOUT: "timeout"}


def of_os_error(error: OSError, stage: str) -> str:
    """The cause of an error of the socket during `stage`."""
    number = error.errno or 0
    if number in _LOCAL:
        return _LOCAL[number]
    if number in _REMOTE:
        return f"{_REMOTE[number]} ({stage})"
    return f"{errno.errorcode.get(number, type(error).__name__)} ({stage})"


def of_end(error: Exception | None, stage: str) -> str:
    """The cause of an end of the TCP connection without a close frame, by an error or by an orderly end of file."""
    return of_os_error(error, stage) if isinstance(error, OSError) else f"eof ({stage})"


def of_timeout(stage: str) -> str:
    return f"timeout ({stage})"


def of_http(status: int) -> str:
    return f"http {status}"


def of_close(code: int, reason: str) -> str:
    return f"close {code} {reason}".rstrip()


def of_reply(code: int, message: str) -> str:
    return f"error {code} {message}"


def of_garbage(what: str) -> str:
    return f"malformed: {what}"


def count(causes: Counter[str], cause: str) -> None:
    """Adds one to a bounded counter: after `MAX_CAUSES` distinct causes, a new one counts as `OTHER`."""
    causes[cause if cause in causes or len(causes) < MAX_CAUSES else OTHER] += 1


def close_codes(causes: Mapping[str, int]) -> dict[str, int]:
    """The number of connections by close code; "none" for those that ended without a close frame."""
    codes: Counter[str] = Counter()
    for cause, number in causes.items():
        codes[cause.split(" ")[1] if cause.startswith("close ") else "none"] += number
    return dict(codes)
