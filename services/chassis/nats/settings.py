"""The section `nats`: how a process reaches NATS and signs in there. A mistake is reported before anything starts."""

from __future__ import annotations

import re
from typing import Final

from services.chassis.nats.credential_files import BadFile, read_creds, read_nkey, readable
from services.chassis.nats.servers import Servers, parse_servers
from services.chassis.nats.tls import tls_context
from services.chassis.process.secret_files import Secret
from services.chassis.process.settings import REPLICAS, Section

_INBOX: Final = re.compile(r"[^\s.*>$][^\s.*>]*(\.[^\s.*>]+)*")


class NatsSettings(Section, frozen=True):
    """The section `nats`: how a process reaches NATS and signs in there; without any credentials it connects
    anonymously.

    Files are read once here, so that a mistake is reported at the start, and again at each connect, so that a new file
    counts.
    """

    url: Secret = "nats://127.0.0.1:4222"
    """Servers of one cluster, separated by commas: nats://host:port, or tls://host:port. It may contain user and
    password, percent-encoded, or a token."""
    user: str = ""
    """The name under which the process signs in, with `password`."""
    password: Secret = ""
    """The password of `user`."""
    token: Secret = ""
    """The token, where all clients of NATS share one."""
    nkey_file: str = ""
    """The path of a file with a user's seed (SU...). The process proves that it has the seed, but does not send it."""
    credentials_file: str = ""
    """The path of a `.creds` file with a user's JWT and seed, for servers that trust an operator."""
    ca_file: str = ""
    """The path of the CA certificates (PEM) that signed NATS's certificate; empty for the system's. Requires TLS."""
    cert_file: str = ""
    """The path of the client certificate (PEM) that the process presents to NATS, with `key_file`. Requires TLS."""
    key_file: str = ""
    """The path of the private key (PEM, not encrypted) of `cert_file`."""
    inbox_prefix: str = ""
    """The beginning of the subjects to which replies come; empty: one for each service, such as
    "_INBOX_fairlead_edge"."""
    replicas: int | None = None
    """How many servers of a NATS cluster have each stream: 1, 3 or 5. Left out: new streams have 1, existing streams
    stay as they are."""

    def __post_init__(self) -> None:
        servers = parse_servers(self.url)
        self._check_combinations(servers)
        if self.inbox_prefix and not _INBOX.fullmatch(self.inbox_prefix):
            raise ValueError('expected nats.inbox_prefix to be a subject without wildcards, such as "_INBOX_edge"')
        if self.replicas not in (None, *REPLICAS):
            raise ValueError("expected nats.replicas 1, 3 or 5")
        self._check_files()

    @property
    def servers(self) -> Servers:
        """The servers in `url`."""
        return parse_servers(self.url)

    @property
    def wants_tls(self) -> bool:
        """Whether the process gives up on a server that does not offer TLS."""
        return bool(self.servers.tls or self.ca_file or self.cert_file)

    def _check_combinations(self, servers: Servers) -> None:
        for one, other in (("user", "password"), ("cert_file", "key_file")):
            for given, lacking in ((one, other), (other, one)):
                if getattr(self, given) and not getattr(self, lacking):
                    raise ValueError(f"expected nats.{lacking} with nats.{given}: set both, or neither")
        ways = [f"nats.{way}" for way in ("user", "token", "nkey_file", "credentials_file") if getattr(self, way)]
        if servers.user or servers.token:
            ways.insert(0, "the user in nats.url")
        if len(ways) > 1:
            raise ValueError(f"expected one way to sign in to NATS, got {' and '.join(ways)}: leave out all but one")

    def _check_files(self) -> None:
        readers = {"nkey_file": read_nkey, "credentials_file": read_creds}
        readers |= {"ca_file": readable, "cert_file": readable, "key_file": readable}  # type: ignore[dict-item]
        for key, read in readers.items():
            if path := getattr(self, key):
                try:
                    read(path)
                except BadFile as error:
                    raise ValueError(f"nats.{key}: {error}") from None
        if self.wants_tls:
            try:
                tls_context(self.ca_file, self.cert_file, self.key_file)
            except BadFile as error:
                raise ValueError(str(error)) from None
