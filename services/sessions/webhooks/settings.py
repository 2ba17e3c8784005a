"""The tables `[[sessions.webhooks]]`: where events are sent, and which."""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta

from proto.signature import MIN_SECRET_LENGTH
from services.chassis.nats.credential_files import BadFile
from services.chassis.nats.tls import tls_context
from services.chassis.process.secret_files import Secret
from services.chassis.process.settings import Duration, Section, is_http_address
from services.sessions.webhooks.payload import EVENT_TYPES

MAX_WEBHOOKS: Final = 16
"""Each holds one connection to PostgreSQL, and keeps what is known about every open connection in memory."""

MAX_TIMEOUT_S: Final = 60.0

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class WebhookSettings(Section, frozen=True):
    """One webhook."""

    name: str
    """Its name in the tables, logs and metrics. A renamed webhook begins anew."""
    url: str
    """Where its events are POSTed to. Redirects are not followed."""
    secret: Secret
    """The key of the signature in the header `Fairlead-Signature`."""
    events: list[str] = []  # noqa: RUF012 - msgspec copies mutable defaults
    """The types of events that it gets, such as ["connected", "disconnected"]; all if empty."""
    timeout: Duration = Duration(10)
    """How long an answer may take, in all. At most a minute."""
    max_events: Annotated[int, Meta(ge=1, le=1000)] = 100
    """Events in one request."""
    give_up_after: Duration = Duration(24 * 3600)
    """After so long without success a request is set aside as a dead letter, and the next events are sent."""
    ca_file: str = ""
    """Certificates of the authorities that may vouch for the server, in PEM; empty: those that the system trusts."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError('expected a name of 1 to 64 letters, digits, "-", "_" and "."')
        if not is_http_address(self.url) or "@" in self.url.partition("?")[0]:
            raise ValueError("expected url to be an address such as https://app.example.com/fairlead, without a user")
        if len(self.secret) < MIN_SECRET_LENGTH:
            raise ValueError(f"expected secret of at least {MIN_SECRET_LENGTH} characters")
        if unknown := sorted(set(self.events) - set(EVENT_TYPES)):
            raise ValueError(f"expected events to be of {', '.join(EVENT_TYPES)}, not {unknown[0]!r}")
        if not 0 < self.timeout <= MAX_TIMEOUT_S:
            raise ValueError("expected timeout above 0 and at most 60 s")
        if self.ca_file:
            try:
                tls_context(self.ca_file, "", "", "")
            except BadFile as error:
                raise ValueError(str(error)) from None

    @property
    def wanted(self) -> frozenset[str]:
        """The types of events that it gets."""
        return frozenset(self.events or EVENT_TYPES)


def check_webhooks(webhooks: list[WebhookSettings]) -> None:
    """Raises ValueError for webhooks of one name, or too many."""
    names = [one.name for one in webhooks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"expected each name in sessions.webhooks once, but {twice[0]!r} is there twice")
    if len(webhooks) > MAX_WEBHOOKS:
        raise ValueError(f"expected at most {MAX_WEBHOOKS} sessions.webhooks")
