"""What is known of the HTTP request with which a client came. Pure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from services.chassis.http.client_address import Proxies

MAX_TEXT_LENGTH: Final = 256
"""Characters that are kept of `Origin` and `User-Agent`, which every client has and anybody can make long."""


class Arrival(Struct, frozen=True, gc=False):
    """A client's request: an upgrade to a WebSocket, or the one that opened its HTTP stream.

    `address` is the client's own, told by trusted proxies if there are any. `origin` is the page, `user_agent` the
    browser or library; each is "" if it is not known. `headers` are the further ones that the settings ask for
    (`Policy.kept_headers`), by their names in lower case. Their values are text in Latin-1, one character for a byte.
    The request head bounds them (16 KiB). `user` is who it is according to an authenticating proxy, "" without one.
    """

    address: str = ""
    origin: str = ""
    user_agent: str = ""
    headers: dict[str, str] = {}
    user: str = ""

    def chosen(self, names: Iterable[str]) -> dict[str, str]:
        """Those of `headers` that an allow-list names, in lower case."""
        return {name: self.headers[name] for name in names if name in self.headers}


UNKNOWN: Final = Arrival()
"""Of a client that came without a request."""

NO_HEADERS: Final[dict[str, str]] = {}


class UserHeader:
    """The header in which an authenticating proxy says who the user is. Nobody but `proxies` is believed."""

    def __init__(self, name: str, proxies: Proxies) -> None:
        self.name = name.lower()
        self._proxies = proxies

    def user(self, peer: str, header: Callable[[str], str]) -> str:
        """The user of a request that came from `peer`; "" if the proxy names none, or the peer is no such proxy.

        Raises ValueError if the value is not UTF-8.
        """
        if not self._proxies.trust(peer):
            return ""
        try:
            return header(self.name).encode("latin-1").decode()
        except UnicodeDecodeError:
            raise ValueError(f"expected the header {self.name} in UTF-8 (client.user_id_http_header)") from None


def arrival_of(address: str, header: Callable[[str], str], kept: Iterable[str], user: str = "") -> Arrival:
    """What is kept of a request. `header` returns a header's value by its name in lower case, "" without one."""
    headers = {name: value for name in kept if (value := header(name))} or NO_HEADERS
    return Arrival(address, _shared(header("origin")), _shared(header("user-agent")), headers, user)


def _shared(text: str) -> str:
    """Clients have a few browsers and pages between them, so each text is held once for all."""
    return sys.intern(text[:MAX_TEXT_LENGTH])
