"""Every code for a failed command, an ended subscription and a closed connection: three tables, no other codes.

SDKs act on the number alone, so the ranges carry meaning. After an unsubscribe code below 2500 the subscription stays
ended; from 2500 on the SDK resubscribes at once. After a close code of 3500-3999 or 4500-4999 the SDK does not
reconnect; after any other code it does. Applications may use 2100-2499, 2600-2999 and 4000-4999.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

MAX_REASON_BYTES: Final = 123
"""Size of a close code's reason in UTF-8: a WebSocket close frame has no more room after the code (RFC 6455, 5.5)."""


class ErrorCode(NamedTuple):
    """An error reply. If it is `temporary` the same command may succeed later, and SDKs retry it."""

    code: int
    message: str
    temporary: bool = False


class UnsubscribeCode(NamedTuple):
    """The server's reason for ending one subscription. `reason` is never empty: SDKs index it."""

    code: int
    reason: str


class CloseCode(NamedTuple):
    """The code and reason of the close frame that ends a connection.

    The reason is never empty and never parses as JSON: otherwise centrifuge-js ignores the terminal ranges.
    """

    code: int
    reason: str

    @property
    def reconnect(self) -> bool:
        """Whether SDKs reconnect after it."""
        return client_reconnects(self.code)


def client_reconnects(close_code: int) -> bool:
    """Whether SDKs reconnect by themselves after a connection was closed with this code."""
    return not (3500 <= close_code < 4000 or 4500 <= close_code < 5000)


def check_close_reason(reason: str) -> None:
    """Raises ValueError, with what was expected, for a reason that SDKs would not accept."""
    if not 1 <= len(reason.encode()) <= MAX_REASON_BYTES:
        raise ValueError(f"expected a reason of 1 to {MAX_REASON_BYTES} bytes")
    try:
        json.loads(reason)  # not msgspec's: JavaScript accepts half surrogate pairs too
    except ValueError:
        return
    raise ValueError("expected a reason that is not JSON, after which SDKs would ignore the code")


INTERNAL: Final = ErrorCode(100, "internal server error", temporary=True)
UNAUTHORIZED: Final = ErrorCode(101, "unauthorized")
UNKNOWN_CHANNEL: Final = ErrorCode(102, "unknown channel")
PERMISSION_DENIED: Final = ErrorCode(103, "permission denied")
METHOD_NOT_FOUND: Final = ErrorCode(104, "method not found")
ALREADY_SUBSCRIBED: Final = ErrorCode(105, "already subscribed")
LIMIT_EXCEEDED: Final = ErrorCode(106, "limit exceeded")
BAD_REQUEST: Final = ErrorCode(107, "bad request")
NOT_AVAILABLE: Final = ErrorCode(108, "not available")
TOKEN_EXPIRED: Final = ErrorCode(109, "token expired")
EXPIRED: Final = ErrorCode(110, "expired")
TOO_MANY_REQUESTS: Final = ErrorCode(111, "too many requests", temporary=True)
UNRECOVERABLE_POSITION: Final = ErrorCode(112, "unrecoverable position")
CONCURRENT_PAGINATION: Final = ErrorCode(113, "concurrent pagination", temporary=True)

UNSUBSCRIBED_BY_SERVER: Final = UnsubscribeCode(2000, "server unsubscribe")
UNSUBSCRIBED_INSUFFICIENT_STATE: Final = UnsubscribeCode(2500, "insufficient state")
UNSUBSCRIBED_EXPIRED: Final = UnsubscribeCode(2501, "subscription expired")
UNSUBSCRIBED_STATE_INVALIDATED: Final = UnsubscribeCode(2502, "state invalidated")

NORMAL: Final = CloseCode(1000, "normal closure")  # the answer to a client's own close frame
GOING_AWAY: Final = CloseCode(1001, "shutdown")  # the edge drains; SDKs reconnect, to another edge
WIRE_PROTOCOL_ERROR: Final = CloseCode(1002, "protocol error")  # the client violated RFC 6455
WIRE_BAD_UTF8: Final = CloseCode(1007, "invalid frame payload data")
WIRE_TOO_BIG: Final = CloseCode(1009, "message too big")
CONNECTION_CLOSED: Final = CloseCode(3000, "connection closed")  # internal, never sent: the peer is gone
SHUTDOWN: Final = CloseCode(3001, "shutdown")
INTERNAL_CLOSE: Final = CloseCode(3004, "internal server error")
CONNECTION_EXPIRED: Final = CloseCode(3005, "connection expired")
SUBSCRIPTION_EXPIRED: Final = CloseCode(3006, "subscription expired")
SLOW: Final = CloseCode(3008, "slow")
WRITE_ERROR: Final = CloseCode(3009, "write error")
INSUFFICIENT_STATE: Final = CloseCode(3010, "insufficient state")
FORCE_RECONNECT: Final = CloseCode(3011, "force reconnect")
NO_PONG: Final = CloseCode(3012, "no pong")
TOO_MANY_REQUESTS_CLOSE: Final = CloseCode(3013, "too many requests")
STATE_INVALIDATED: Final = CloseCode(3014, "state invalidated")
INVALID_TOKEN: Final = CloseCode(3500, "invalid token")
BAD_REQUEST_CLOSE: Final = CloseCode(3501, "bad request")
STALE: Final = CloseCode(3502, "stale")
FORCE_DISCONNECT: Final = CloseCode(3503, "force disconnect")
CONNECTION_LIMIT: Final = CloseCode(3504, "connection limit")
CHANNEL_LIMIT: Final = CloseCode(3505, "channel limit")
INAPPROPRIATE_PROTOCOL: Final = CloseCode(3506, "inappropriate protocol")
PERMISSION_DENIED_CLOSE: Final = CloseCode(3507, "permission denied")
NOT_AVAILABLE_CLOSE: Final = CloseCode(3508, "not available")
TOO_MANY_ERRORS: Final = CloseCode(3509, "too many errors")
