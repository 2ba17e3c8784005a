"""Why clients are refused, in an operator's words: by what they wanted, and the code. Pure data."""

from __future__ import annotations

from typing import Final

from proto import codes
from services.sessions.commands.meanings import ERRORS, meaning

_CONNECT: Final = "connect"
_OF_HTTP: Final = ("handshake", "emulate")
"""Actions that are refused with an HTTP status."""
_OF_HOOKS: Final = range(codes.INTERNAL.code, 2000)
"""Error codes: Fairlead's own, and those with which backends answer hooks."""

STATUSES: Final[dict[int, str]] = {
    400: "its HTTP request makes no sense: a bug in the client or in a proxy",
    403: "its page is on an origin that client.allowed_origins does not name",
    404: "it asked for an address that the edge does not offer, or for a session that is over",
    405: "its HTTP request has another method than the address takes",
    408: "its HTTP request did not come in time",
    413: "its HTTP request is larger than what the edge reads",
    426: "it speaks another version of WebSocket",
    429: "the edge, or its address, has reached one of the limits of connections",
    503: "the edge was starting or being stopped, or had no room for it",
}
"""HTTP statuses with which edges refuse clients before they are connected."""

_CONNECTS: Final[dict[int, str]] = {
    codes.BAD_REQUEST_CLOSE.code: "it had no token and anonymous clients are not allowed, or it did not begin with a"
    " connect",
    codes.PERMISSION_DENIED_CLOSE.code: "its token has no user, which client.disallow_anonymous_connection_tokens wants"
    " refused",
}
"""Close codes that mean something else to a client that has not connected."""


_NAME: Final = "the channel's name is not allowed (channel_regex, client.channel_max_length)"
_BAD_REQUESTS: Final[dict[str, str]] = {
    "subscribe": f"{_NAME}, or its tags filter is not",
    "publish": f"{_NAME}, or its data (publication_data_format) or key is not",
    "history": f"{_NAME}, or the offset is not",
    "presence": _NAME,
    "presence_stats": _NAME,
    "rpc": "its data is not what the method takes",
    "sub_refresh": "it has no token, or one that nests too deep",
}
"""What may be wrong with a command that is a bad request."""


def why_refused(code: int, action: str = "", reason: str = "") -> str:
    """Why a client was refused with this code; without `action`: whatever it wanted. Does not repeat what `reason`
    says."""
    if not code:
        return "of more kinds than an edge tells apart"
    if action in _OF_HTTP:
        return STATUSES.get(code, "an HTTP status")
    if code == codes.BAD_REQUEST.code:
        if reason not in ("", codes.BAD_REQUEST.message):
            return "a mistake in the client, in a setting, or in a backend's answer"
        return _BAD_REQUESTS.get(action, ERRORS[code])
    if code in ERRORS:
        return ERRORS[code]
    if code in _OF_HOOKS:
        own = "a code of the application's own"
        return f"an HTTP status, or {own}: `--by action` tells" if not action and code in STATUSES else own
    if action in ("", _CONNECT) and code in _CONNECTS:  # close codes refuse connects alone
        return _CONNECTS[code]
    return meaning(code)
