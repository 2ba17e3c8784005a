"""The user and the credentials with which a connection signs in to NATS. Files are read anew at each connect.

So credentials, a key or a certificate that an operator replaces count from the next connect on, without a restart. A
password or a token does not, even in a file of its own: it is read with the settings.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from services.chassis.nats.credential_files import BadFile, read_creds, read_nkey
from services.chassis.nats.settings import NatsSettings
from services.chassis.nats.tls import tls_context


class SignIn:
    """Signs in by the settings, which are already checked."""

    def __init__(self, settings: NatsSettings, keys: str = "nats.") -> None:
        """The names of the settings begin with `keys`."""
        self._settings = settings
        self._keys = keys
        servers = settings.servers
        self._login: dict[str, str] = {}
        self._who = f"an anonymous client ({keys}user and {keys}password are not set, nor is another way to sign in)"
        if user := settings.user or servers.user:
            self._who = f"user {user} ({keys}{'user' if settings.user else 'url'})"
            self._login = {"user": user, "pass": settings.password or servers.password}
        elif token := settings.token or servers.token:
            self._who = f"the token of {keys}token" if settings.token else f"the token in {keys}url"
            self._login = {"auth_token": token}
        elif settings.cert_file:
            self._who = f"who has the certificate of {keys}cert_file"
        self._contexts: dict[tuple[int, ...], ssl.SSLContext] = {}

    @property
    def who(self) -> str:
        """Who signs in, for people: without anything secret."""
        try:
            if path := self._settings.nkey_file:
                return f"user {read_nkey(path).public()} ({self._keys}nkey_file)"
            if path := self._settings.credentials_file:
                return f"user {read_creds(path).nkey.public()} ({self._keys}credentials_file)"
        except BadFile as error:
            return str(error)
        return self._who

    @property
    def wants_tls(self) -> bool:
        return self._settings.wants_tls

    def fields(self, nonce: str) -> dict[str, str]:
        """The fields of CONNECT that sign in to a server that sent `nonce` ("" if it sent none). Raises `BadFile`."""
        if path := self._settings.nkey_file:
            nkey = read_nkey(path)
            return {"nkey": nkey.public(), "sig": nkey.sign(nonce)}
        if path := self._settings.credentials_file:
            creds = read_creds(path)
            return {"jwt": creds.jwt, "sig": creds.nkey.sign(nonce)}
        return self._login

    def tls_context(self) -> ssl.SSLContext:
        """A TLS context of the files as they are now. Raises `BadFile`."""
        files = [self._settings.ca_file, self._settings.cert_file, self._settings.key_file]
        version = tuple(_changed_at(name) for name in files if name)
        if version not in self._contexts:  # making a context takes 20 ms with the system's certificates
            self._contexts = {version: tls_context(*files)}
        return self._contexts[version]


def _changed_at(name: str) -> int:
    try:
        return Path(name).stat().st_mtime_ns
    except OSError:
        return 0
