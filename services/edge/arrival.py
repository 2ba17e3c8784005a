"""What is known of the HTTP request with which a client came. Pure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import force_setattr

MAX_TEXT_LENGTH: Final = 256
"""Characters that are kept of `Origin` and `User-Agent`, which every client has and anybody can make long."""


class Kept(NamedTuple):
    """What is kept of clients' requests: nothing, unless a setting asks for it.

    `request`: address, origin and user agent, until the client is connected (`Arrival.settle`). `headers`: the names,
    in lower case, of headers that are kept for backends while it is connected. `of_proxies`: those of them that are
    kept only if a trusted proxy wrote them.
    """

    request: bool = False
    headers: frozenset[str] = frozenset()
    of_proxies: frozenset[str] = frozenset()


NOTHING_KEPT: Final = Kept()


class Arrival(Struct, frozen=True, gc=False):
    """A client's request: an upgrade to a WebSocket, or the one that opened its HTTP stream.

    `address` is the client's own, as trusted proxies report it if there are any. `origin` is the page, `user_agent` the
    browser or library; each is "" if it is not known or not `Kept`. `headers` are further headers, by their names in
    lower case. Their values are text in Latin-1, one character for a byte. The limit of a request head (16 KiB) bounds
    them. `user` is the user according to an authenticating proxy, "" without one.
    """

    address: str = ""
    origin: str = ""
    user_agent: str = ""
    headers: dict[str, str] = {}
    user: str = ""

    def settle(self, told: Collection[str] = ()) -> None:
        """Forgets what is no longer needed once the client is connected: everything except the headers and `told`, the
        names of the details that facts about the client contain."""
        if self is not UNKNOWN:
            for name in ("address", "origin", "user_agent", "user"):
                if name not in told:
                    force_setattr(self, name, "")


UNKNOWN: Final = Arrival()
"""The arrival of a client without a request."""

NO_HEADERS: Final[dict[str, str]] = {}


class UserHeader:
    """The header in which an authenticating proxy says who the user is."""

    def __init__(self, name: str) -> None:
        self.name = name.lower()

    def user(self, by_proxy: bool, header: Callable[[str], str]) -> str:
        """The user of a request; "" if no trusted proxy wrote its head (`by_proxy`), or it names none.

        Raises ValueError if the value is not text in UTF-8.
        """
        if not by_proxy:
            return ""
        try:
            user = header(self.name).encode("latin-1").decode()
        except UnicodeDecodeError:
            user = "\0"
        if not user.isprintable():
            raise ValueError(f"expected the header {self.name} to be text in UTF-8 (client.user_id_http_header)")
        return user


def arrival_of(address: str, header: Callable[[str], str], kept: Kept, by_proxy: bool, user: str = "") -> Arrival:
    """What is kept of a request. `header` returns a header's value by its name in lower case, "" without one;
    `by_proxy`: a trusted proxy wrote them.
    """
    headers = NO_HEADERS
    if kept.headers:
        wanted = kept.headers if by_proxy else kept.headers - kept.of_proxies
        headers = {name: value for name in wanted if (value := header(name))} or NO_HEADERS
    if kept.request:
        return Arrival(address, _shared(header("origin")), _shared(header("user-agent")), headers, user)
    return Arrival(headers=headers, user=user) if headers or user else UNKNOWN


def _shared(text: str) -> str:
    """Clients have a few browsers and pages between them, so each text is held once for all."""
    return sys.intern(text[:MAX_TEXT_LENGTH])
