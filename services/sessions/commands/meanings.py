"""What each code of `proto.codes` means to an operator: why it happens, and whether to do something. Pure data."""

from __future__ import annotations

from typing import Final

from proto import codes
from proto.events import BY_BACKEND, BY_CLIENT, BY_DRAIN, BY_EDGE, BY_LOSS, BY_NETWORK

_NO_CLOSE_FRAME: Final = 1006
_NO_CODE: Final = 1005

CLOSES: Final[dict[int, str]] = {
    codes.NORMAL.code: "the client closed it",
    codes.GOING_AWAY.code: "the edge was being stopped, or the page was left",
    codes.WIRE_PROTOCOL_ERROR.code: "what the client sent is not WebSocket",
    _NO_CODE: "the client closed it without a code, as browsers do when a page is left",
    _NO_CLOSE_FRAME: "the connection broke: neither side said goodbye",
    codes.WIRE_BAD_UTF8.code: "the client sent text that is not UTF-8",
    codes.WIRE_TOO_BIG.code: "the client sent more at once than client.max_message_size",
    codes.CONNECTION_CLOSED.code: "the client was gone",
    codes.SHUTDOWN.code: "the edge was being stopped",
    codes.INTERNAL_CLOSE.code: "a bug in the edge, or it could not reach what it needs: see its log",
    codes.CONNECTION_EXPIRED.code: "the token expired and the client did not send a new one",
    codes.SUBSCRIPTION_EXPIRED.code: "a subscription's token expired and the client did not send a new one",
    codes.SLOW.code: "the client did not take what was sent to it: a slow network, or a client that hangs",
    codes.WRITE_ERROR.code: "the edge could not write to the client",
    codes.INSUFFICIENT_STATE.code: "messages were lost on the way to the edge: the client connects again to catch up",
    codes.FORCE_RECONNECT.code: "it was told to connect again",
    codes.NO_PONG.code: "the client no longer answered pings: a dead network, or a device that sleeps",
    codes.TOO_MANY_REQUESTS_CLOSE.code: "the client exceeded its rate limits",
    codes.STATE_INVALIDATED.code: "what the client knew was no longer valid: it starts again",
    codes.INVALID_TOKEN.code: "its token was not valid",
    codes.BAD_REQUEST_CLOSE.code: "the client sent something other than a command: a bug in it, or an old version",
    codes.STALE.code: "the client opened a connection and did not sign in in time",
    codes.FORCE_DISCONNECT.code: "the application disconnected the user",
    codes.CONNECTION_LIMIT.code: "there were too many connections, of the user or on the edge",
    codes.CHANNEL_LIMIT.code: "the client subscribed to more channels than it is allowed",
    codes.INAPPROPRIATE_PROTOCOL.code: "the client spoke a protocol that this address does not",
    codes.PERMISSION_DENIED_CLOSE.code: "the client may not do what it tried",
    codes.NOT_AVAILABLE_CLOSE.code: "what the client tried is not offered here",
    codes.TOO_MANY_ERRORS.code: "the client went on after too many errors",
}
"""Close codes."""

ERRORS: Final[dict[int, str]] = {
    codes.INTERNAL.code: "a bug in the edge, or it could not reach what it needs: see its log",
    codes.UNAUTHORIZED.code: "it had no token, or none that is valid",
    codes.UNKNOWN_CHANNEL.code: "no configured namespace has such a channel",
    codes.PERMISSION_DENIED.code: "neither token nor namespace nor backend allows it",
    codes.METHOD_NOT_FOUND.code: "there is no such method",
    codes.ALREADY_SUBSCRIBED.code: "it was subscribed already",
    codes.LIMIT_EXCEEDED.code: "a configured limit was reached",
    codes.BAD_REQUEST.code: "a channel's name, data, a filter or a key is not allowed: a mistake in the client, or in a"
    " setting",
    codes.NOT_AVAILABLE.code: "the namespace does not offer it",
    codes.TOKEN_EXPIRED.code: "the token had expired; an SDK connects again once the application gives it a new one",
    codes.EXPIRED.code: "what it refers to had expired",
    codes.TOO_MANY_REQUESTS.code: "the client exceeded its rate limits",
    codes.UNRECOVERABLE_POSITION.code: "the history no longer reaches back so far",
    codes.CONCURRENT_PAGINATION.code: "too many clients read the history at once",
}
"""Codes of error replies."""

UNSUBSCRIBES: Final[dict[int, str]] = {
    0: "the client unsubscribed",
    codes.UNSUBSCRIBED_BY_SERVER.code: "the application unsubscribed it",
    codes.UNSUBSCRIBED_INSUFFICIENT_STATE.code: "messages were lost on the way: it subscribes again to catch up",
    codes.UNSUBSCRIBED_EXPIRED.code: "the subscription expired",
    codes.UNSUBSCRIBED_STATE_INVALIDATED.code: "what it knew was no longer valid: it subscribes again",
}
"""Codes with which subscriptions end."""

_SPECIAL: Final[dict[tuple[int, str], str]] = {
    (_NO_CLOSE_FRAME, BY_LOSS): "the edge died without closing its connections",
    (codes.GOING_AWAY.code, BY_DRAIN): "the edge was being stopped",
    (codes.GOING_AWAY.code, BY_CLIENT): "the page was left",
}
"""What a close code means if it is known who ended the connection."""

BY: Final[dict[str, str]] = {
    BY_CLIENT: "the client",
    BY_NETWORK: "the network",
    BY_EDGE: "the edge",
    BY_DRAIN: "a drain of the edge",
    BY_BACKEND: "the application",
    BY_LOSS: "the death of the edge",
    "": "unknown",
}
"""Who ended it, by `proto.events.BY_*`."""


def meaning(code: int, by: str = "") -> str:
    """What a close, unsubscribe or error code means, as a clause."""
    if (code, by) in _SPECIAL:
        return _SPECIAL[code, by]
    for known in (CLOSES, ERRORS, UNSUBSCRIBES):
        if code in known:
            return known[code]
    if 2100 <= code < 2500 or 2600 <= code < 3000 or 4000 <= code < 5000:
        return "a code of the application's own"
    return "a code that Fairlead does not use"


def end_in_words(code: int, by: str) -> str:
    """What a close or unsubscribe code means, and who ended it unless the meaning says so."""
    what, who = meaning(code, by), ended_by(by)
    return what if not by or (code, by) in _SPECIAL or who in what else f"{what}, ended by {who}"


def ended_by(by: str) -> str:
    """Who ended it, in words; an unknown value is returned as it is."""
    return BY.get(by, by)
