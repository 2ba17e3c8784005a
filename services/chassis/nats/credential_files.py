"""The files that a process signs in to NATS with: the seed of a user (an "nkey"), or a user's JWT with its seed.

Signing is done by pyca/cryptography, which edges have anyway. The package nkeys, which nats-py would use, has no
wheels, which our image requires, and needs a second library for the same signature.

Errors name the file and what it lacks; they never quote its content.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Final, NamedTuple

from services.chassis.process.configured_files import read_configured

MAX_FILE_BYTES: Final = 1024 * 1024
_USER: Final = 20 << 3
_SEED: Final = 18 << 3
_KINDS: Final = {0: "an account", 14 << 3: "an operator", 13 << 3: "a server", 2 << 3: "a cluster", _USER: "a user"}
_WORD: Final = re.compile(r"\bS[A-Z2-7]{57}\b")
_JWT: Final = re.compile(r"-{3,} *BEGIN NATS USER JWT *-{3,}\s+([\w.=-]+)\s+-{3,}")


class BadFile(Exception):
    """A file cannot be read, or does not contain what its setting expects."""


class Nkey(NamedTuple):
    """A user's key: 32 secret bytes."""

    secret: bytes

    def public(self) -> str:
        """The public key as NATS writes it: "U" and 55 letters and digits."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = bytes([_USER]) + Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()
        return base64.b32encode(key + _checksum(key)).decode().rstrip("=")

    def sign(self, nonce: str) -> str:
        """The signature of the server's nonce."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        signature = Ed25519PrivateKey.from_private_bytes(self.secret).sign(nonce.encode())
        return base64.urlsafe_b64encode(signature).decode().rstrip("=")


class Creds(NamedTuple):
    """The content of a `.creds` file."""

    jwt: str
    nkey: Nkey


def read_nkey(path: str) -> Nkey:
    """The key in a file that nsc or nk made. Raises `BadFile`."""
    return _nkey(readable(path).decode("utf-8", "replace"), path)


def read_creds(path: str) -> Creds:
    """The JWT and the key in a file that nsc made. Raises `BadFile`."""
    text = readable(path).decode("utf-8", "replace")
    jwt = _JWT.search(text)
    if jwt is None:
        raise BadFile(f"{path}: has no NATS USER JWT; expected a .creds file, such as nsc makes")
    return Creds(jwt[1], _nkey(text[jwt.end() :], path))


def readable(path: str) -> bytes:
    """The content of a file. Raises `BadFile` with the system's reason."""
    try:
        return read_configured(Path(path), MAX_FILE_BYTES)
    except OSError as error:
        raise BadFile(f"{path}: cannot be read: {error.strerror}") from None


def _nkey(text: str, path: str) -> Nkey:
    word = _WORD.search(text)
    if word is None:
        raise BadFile(f"{path}: has no seed of a user; expected a line of 58 characters that begins with SU")
    try:
        raw = base64.b32decode(word[0] + "=" * (-len(word[0]) % 8))
    except binascii.Error:
        raw = bytes(36)
    if raw[0] & 0xF8 != _SEED or raw[-2:] != _checksum(raw[:-2]):
        raise BadFile(f"{path}: its seed is damaged: the checksum is wrong")
    kind = (raw[0] & 7) << 5 | raw[1] >> 3
    if kind != _USER:
        raise BadFile(f"{path}: has the seed of {_KINDS.get(kind, 'something else')}, expected that of a user (SU...)")
    return Nkey(raw[2:34])


def _checksum(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0).to_bytes(2, "little")
