"""The tables `backends`, each a service of the application, and the section `rpc`: which of them answers RPCs.

The names of options are Centrifugo's where it has them, so that its users know them.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import fields

from proto.signature import HEADER as SIGNATURE
from proto.signature import MIN_SECRET_LENGTH
from services.chassis.nats.credential_files import BadFile
from services.chassis.nats.settings import NatsSettings
from services.chassis.nats.tls import tls_context
from services.chassis.process.secret_files import Secret
from services.chassis.process.settings import Count, Duration, Section, is_http_address
from services.chassis.process.settings_errors import FORM
from services.edge.hook_settings import COMMAND_DEADLINE_S, NATS, ToDisconnect

EVENT: Final = "{event}"
"""Stands in a backend's `url` for what is asked: connect, refresh, subscribe, publish, sub_refresh or rpc."""

OWN_NATS: Final = "nats://"
"""The `url` of a backend on the edge's own NATS."""

_SIGN_IN: Final = ("user", "password", "token", "nkey_file", "credentials_file")
_TLS: Final = ("ca_file", "cert_file", "key_file")
_OF_HTTP: Final = ("status_to_code_transforms", "max_in_flight", "breaker_failures", "breaker_pause")
"""Options that mean nothing on NATS."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_OWN_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        SIGNATURE.lower(),
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that the edge sets on its own requests, and that nobody else may set."""

PROXY_HEADERS: Final = frozenset(
    {
        "cf-connecting-ip",
        "forwarded",
        "true-client-ip",
        "x-client-ip",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
    }
)
"""Headers by which proxies say whose request it is. Backends believe them, and a client can write anything into them,
so they are dropped unless a trusted proxy wrote them."""

_NAME: Final = '2 to 64 letters, digits, "-", "_" and "."'
Name = Annotated[str, Meta(pattern=r"^[-a-zA-Z0-9_.]{2,64}\Z", extra={FORM: _NAME})]


class ToError(Section, frozen=True):
    """The error that a client gets for a status."""

    code: Annotated[int, Meta(ge=100, le=1999)]
    """From 400 on for errors of your own; 100 to 399 are the protocol's."""
    message: Annotated[str, Meta(max_length=256)] = "error"
    """The message that the client gets."""
    temporary: bool = False
    """Whether SDKs try again by themselves."""


class StatusToCode(Section, frozen=True):
    """What an HTTP status means for the client, instead of error 100."""

    status_code: Annotated[int, Meta(ge=201, le=599)]
    """The status of the backend's answer."""
    to_error: ToError | None = None
    """The client's command fails with this error."""
    to_disconnect: ToDisconnect | None = None
    """The client's connection is closed with this code."""

    def __post_init__(self) -> None:
        if (self.to_error is None) == (self.to_disconnect is None):
            raise ValueError("expected one of to_error and to_disconnect")


class BackendSettings(Section, frozen=True, kw_only=True):
    """One backend: where it is asked, what it is told, and how long it may take."""

    name: Name
    """The backend's name in settings, metrics and the log; not "nats"."""
    url: str
    """The backend's address, such as "https://app.example.com/realtime/{event}": `{event}` is connect, refresh,
    subscribe, publish, sub_refresh or rpc. Without `{event}`, all questions go to this one address. "nats://": the
    edge's own NATS; "nats://host:port" or "tls://host:port": another one."""
    timeout: Duration = Duration(0)
    """How long the backend may take to answer, below 4.5 s. 0: as `hook_timeout` and `client.rpc_timeout` say, which
    hold in any case."""
    http_headers: list[str] = []  # noqa: RUF012 - msgspec copies mutable defaults
    """Headers of a client's own request (its upgrade) that the backend gets, such as "Cookie". Headers by which proxies
    say whose request it is, such as "X-Real-IP", are passed on only if one of `edge.trusted_proxies` wrote them."""
    emulated_headers: list[str] = []  # noqa: RUF012
    """Headers that the client may send in its connect command instead: an SDK's `headers`. Any client can write
    anything into them. A header of the request takes precedence."""
    static_headers: dict[str, str] = {}  # noqa: RUF012
    """Headers that the backend gets with each question, such as a key of its own."""
    include_connection_meta: bool = False
    """Whether questions have the connection's `meta`."""
    include_client_request: bool = False
    """Whether the connect question has the client's `address`, `user_agent` and `origin`, as the edge knows them."""
    binary_encoding: bool = False
    """Whether payloads of questions are always in base64, as `b64data`."""
    status_to_code_transforms: list[StatusToCode] = []  # noqa: RUF012
    """What a client gets for a status other than 200; by default, error 100."""
    secret: Secret = ""
    """Signs questions, in the header `Fairlead-Signature`. At least 16 characters. Empty: they are not signed."""
    ca_file: str = ""
    """The path of the certificates (PEM) that vouch for the backend's own; empty for those of the system."""
    cert_file: str = ""
    """The path of the certificate (PEM) that the edge presents to the backend, with `key_file`."""
    key_file: str = ""
    """The path of the private key (PEM, not encrypted) of `cert_file`."""
    user: str = ""
    """On another NATS: the name under which the edge signs in there, with `password`."""
    password: Secret = ""
    """The password of `user`."""
    token: Secret = ""
    """Or the token that all clients of that NATS share."""
    nkey_file: str = ""
    """Or the path of a file with a user's seed (SU...)."""
    credentials_file: str = ""
    """Or the path of a `.creds` file with a user's JWT and seed."""
    max_in_flight: Count = 256
    """Questions that the backend is asked at once, each on a connection of its own, which is reused. Further questions
    wait for their turn, within their time."""
    breaker_failures: Annotated[int, Meta(ge=0)] = 20
    """After this many questions in a row without an answer, the backend is not asked for `breaker_pause`. 0: always
    asked."""
    breaker_pause: Duration = Duration(2)
    """How long the backend is not asked. Then one question tests whether it answers again."""

    def __post_init__(self) -> None:
        if self.name == NATS:
            raise ValueError('expected another name than "nats", which stands for the edge\'s own NATS')
        self._check_way()
        if not 0 <= self.timeout < COMMAND_DEADLINE_S:
            raise ValueError(f"expected timeout below {COMMAND_DEADLINE_S} s, when SDKs give up, or 0")
        if 0 < len(self.secret) < MIN_SECRET_LENGTH:
            raise ValueError(f"expected secret of at least {MIN_SECRET_LENGTH} characters")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("expected cert_file and key_file to be both set or both empty")
        self._check_headers()
        statuses = [each.status_code for each in self.status_to_code_transforms]
        if len(set(statuses)) != len(statuses):
            raise ValueError("expected each status once in status_to_code_transforms")
        if not self.on_nats and (self.ca_file or self.cert_file):
            try:
                tls_context(self.ca_file, self.cert_file, self.key_file, "")
            except BadFile as error:
                raise ValueError(str(error)) from None

    @property
    def on_nats(self) -> bool:
        """Whether it is asked over NATS."""
        return self.url.lower().startswith((OWN_NATS, "tls://"))

    @property
    def other_nats(self) -> NatsSettings | None:
        """How the edge reaches its NATS; None if that is the edge's own, or it is asked over HTTP."""
        if not self.on_nats or self.url == OWN_NATS:
            return None
        return NatsSettings(url=self.url, **{key: getattr(self, key) for key in (*_SIGN_IN, *_TLS)})

    def _check_way(self) -> None:
        """Checks the address, and that there is no option that means nothing there."""
        if self.on_nats:
            self._check_nats()
            return
        if not is_http_address(self.url.replace(EVENT, "event")) or "@" in self.url.partition("?")[0]:
            raise ValueError(
                'expected url to be an address such as "http://127.0.0.1:3000/realtime/{event}", without a user (a '
                'key of the backend belongs in static_headers), or "nats://"'
            )
        self._expect_without(_SIGN_IN, "a backend over HTTP: its key belongs in static_headers")

    def _check_nats(self) -> None:
        if "@" in self.url:
            raise ValueError("expected url without a user: user and password are options of their own")
        if EVENT in self.url:
            raise ValueError(f"expected url without {EVENT}: on NATS, the subject has the event")
        if self.url == OWN_NATS:
            self._expect_without((*_SIGN_IN, *_TLS), f'url = "{OWN_NATS}": the options of [nats] hold')
        try:
            self.other_nats  # noqa: B018 - it checks what it is made of
        except ValueError as error:
            raise ValueError(str(error).replace("nats.", "")) from None
        self._expect_without(_OF_HTTP, "a backend on NATS")

    def _expect_without(self, keys: tuple[str, ...], where: str) -> None:
        for each in fields(self):
            default = each.default_factory() if callable(each.default_factory) else each.default
            if each.name in keys and getattr(self, each.name) != default:
                raise ValueError(f"expected no {each.name} with {where}")

    def _check_headers(self) -> None:
        for key in ("http_headers", "emulated_headers", "static_headers"):
            for name in getattr(self, key):
                if not _HEADER_NAME.fullmatch(name):
                    raise ValueError(f"expected {key} to be names of headers, got {name!a}")
                if name.lower() in _OWN_HEADERS or name.lower().startswith("sec-websocket-"):
                    raise ValueError(f"expected {key} without {name}, which only the edge sets")
                if self.on_nats and name.lower().startswith(("nats-", "fairlead-")):
                    raise ValueError(f"expected {key} without {name}: on NATS, such names are reserved")
        if not all(value.isprintable() and value.isascii() for value in self.static_headers.values()):
            raise ValueError("expected the values of static_headers in printable ASCII")
        if of_proxies := [name for name in self.emulated_headers if name.lower() in PROXY_HEADERS]:
            raise ValueError(
                f"expected emulated_headers without {of_proxies[0]}, by which proxies say whose request it is: clients "
                "could write anything there"
            )
        told = {name.lower() for name in (*self.http_headers, *self.emulated_headers)}
        if both := sorted(told & {name.lower() for name in self.static_headers}):
            raise ValueError(
                f"expected {both[0]} either in static_headers or among those of clients, who could replace it"
            )


class RPCNamespace(Section, frozen=True, kw_only=True):
    """The backend of some RPCs."""

    name: Name
    """What the names of the methods begin with, before their first ":"; or the whole name of one method."""
    backend: str = NATS
    """The backend that answers them: the name of one of `backends`, or "nats"."""


class RPCSection(Section, frozen=True):
    """RPCs: which backend answers them."""

    backend: str = NATS
    """The backend of all other RPCs: the name of one of `backends`, or "nats" for whoever subscribes to `rpc.>`."""
    namespaces: list[RPCNamespace] = []  # noqa: RUF012
    """The backends of some RPCs."""

    def __post_init__(self) -> None:
        names = [namespace.name for namespace in self.namespaces]
        if len(set(names)) != len(names):
            raise ValueError("expected each namespace once")
