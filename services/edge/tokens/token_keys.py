"""The keys that tokens are signed with: which of them holds for a token, and whether it signed it. No I/O, no clock.

A token names an algorithm and perhaps a key (`kid`), and neither is believed: a key is used with the algorithms that it
was configured for and with no other. So a public key never serves as an HMAC secret, and "none" is no algorithm.

HMAC is the standard library's. Public keys are in `token_public_keys`, which is imported when there are any: what it
needs takes 115 ms to load and 13 MB to hold.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from services.edge.tokens.token_algorithms import (
    ALGORITHMS,
    ECDSA_ALGORITHMS,
    ED25519_ALGORITHMS,
    HMAC_ALGORITHMS,
    HMAC_HASHES,
    PUBLIC_ALGORITHMS,
    RSA_ALGORITHMS,
    spellings,
)

if TYPE_CHECKING:
    from services.edge.settings import ClientSection, TokenKey

PROVEN_LIMIT: Final = 16384
"""Tokens whose signature is remembered as good, so that the clients of an edge that come back at once cost no
verification (up to half a millisecond each). About 3 MB."""


class InvalidToken(Exception):
    """The token is forged, malformed, or meant for something else. The text is for the log; it holds no secret."""


class UnknownKey(Exception):
    """No key fits, but the endpoint of the keys may have it: ask it (`token_keys_http`), then verify again."""

    def __init__(self, kid: str) -> None:
        super().__init__("its key is not known yet")
        self.kid = kid


class Key(Protocol):
    """One key. `kid` is its name, "" for none."""

    @property
    def kid(self) -> str: ...

    @property
    def algorithms(self) -> tuple[str, ...]: ...

    def signed(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's for `message`. `algorithm` is one of `algorithms`."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A secret that is shared with whoever signs."""

    secret: bytes = field(repr=False)
    algorithms: tuple[str, ...] = HMAC_ALGORITHMS
    kid: str = ""

    def signed(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(self.secret, message, HMAC_HASHES[algorithm]), signature)


class KeySet:
    """Keys that stay, and keys that come from an endpoint, if `fetched` says that there is one."""

    def __init__(self, keys: Iterable[Key] = (), fetched: bool = False) -> None:
        self._fetched = fetched
        self._own = tuple(keys)
        self._by_kid: dict[str, list[Key]] = {}
        self._proven: OrderedDict[bytes, None] = OrderedDict()
        self.replace_fetched(())

    @classmethod
    def from_settings(cls, section: ClientSection) -> KeySet:
        """The keys that are configured. Raises ValueError, which names the setting and never shows what it holds."""
        return cls(_configured(section), fetched=bool(section.token_jwks_public_endpoint))

    @property
    def empty(self) -> bool:
        """Whether no token can ever be good."""
        return not self._own and not self._fetched

    def replace_fetched(self, keys: Iterable[Key]) -> None:
        """Puts `keys` in the place of those that the endpoint gave before. What those had signed is good no more."""
        self._proven.clear()
        self._by_kid = {}
        for key in (*self._own, *keys):
            self._by_kid.setdefault(key.kid, []).append(key)

    def check(self, algorithm: str, kid: str, message: bytes, signature: bytes) -> None:
        """Returns if the key that a token names (`kid` "": none) signed it. Raises `InvalidToken`, `UnknownKey`.

        `message` is what was signed: the first two parts of the token, which hold the algorithm and the kid too.
        """
        keys = self._candidates(algorithm, kid)
        if algorithm in HMAC_HASHES:  # cheaper than remembering it
            if not any(key.signed(algorithm, message, signature) for key in keys):
                raise InvalidToken("its signature is not good")
            return
        # The message as its digest, which has one length: otherwise bytes could be moved from it to the signature.
        digest = hashlib.sha256(hashlib.sha256(message).digest() + signature).digest()
        if digest in self._proven:
            self._proven.move_to_end(digest)
            return
        if not any(key.signed(algorithm, message, signature) for key in keys):
            raise InvalidToken("its signature is not good")
        self._proven[digest] = None
        if len(self._proven) > PROVEN_LIMIT:
            self._proven.popitem(last=False)

    def _candidates(self, algorithm: str, kid: str) -> Sequence[Key]:
        """The keys that may have signed a token, not none."""
        if self.empty:
            raise InvalidToken("no key is configured (client.token_hmac_secret_key and others)")
        if algorithm not in ALGORITHMS:
            raise InvalidToken("its algorithm is not one for signatures that are checked here")
        named = self._by_kid.get(kid, [])
        if keys := [key for key in named if algorithm in key.algorithms]:
            return keys
        if kid and named:
            raise InvalidToken("the key that it names is not one for its algorithm")
        if self._fetched and algorithm in PUBLIC_ALGORITHMS:
            raise UnknownKey(kid)
        # Backends name keys out of habit: where no key for the algorithm has a name, theirs means nothing.
        if kid and not any(key.kid for key in self._own if algorithm in key.algorithms):
            keys = [key for key in self._by_kid.get("", []) if algorithm in key.algorithms]
        if not keys:
            raise InvalidToken("no key is configured for its algorithm and kid")
        return keys


def _configured(section: ClientSection) -> list[Key]:
    keys: list[Key] = []
    if section.token_hmac_secret_key:
        keys.append(SecretKey(_secret(section.token_hmac_secret_key, "client.token_hmac_secret_key")))
    for name, pem, algorithms in (
        ("token_rsa_public_key", section.token_rsa_public_key, RSA_ALGORITHMS),
        ("token_ecdsa_public_key", section.token_ecdsa_public_key, ECDSA_ALGORITHMS),
        ("token_ed25519_public_key", section.token_ed25519_public_key, ED25519_ALGORITHMS),
    ):
        if pem:
            keys.append(_public(pem, algorithms, "", f"client.{name}"))
    for number, entry in enumerate(section.token_keys):
        keys.append(_listed(entry, f"client.token_keys[{number}]" + (f' ("{entry.kid}")' if entry.kid else "")))
    names = [(key.kid, algorithm) for key in keys if key.kid for algorithm in key.algorithms]
    if twice := next((kid for kid, algorithm in names if names.count((kid, algorithm)) > 1), ""):
        raise ValueError(f'client.token_keys: expected each kid once for an algorithm, "{twice}" is there twice')
    return keys


def _listed(entry: TokenKey, setting: str) -> Key:
    if entry.algorithm in HMAC_ALGORITHMS:
        if not entry.secret or entry.public_key:
            raise ValueError(f"{setting}: expected a secret and no public_key for {entry.algorithm}")
        return SecretKey(_secret(entry.secret, f"{setting}.secret"), (entry.algorithm,), entry.kid)
    if entry.algorithm not in PUBLIC_ALGORITHMS:
        raise ValueError(f"{setting}.algorithm: expected one of {', '.join(ALGORITHMS)}")
    if not entry.public_key or entry.secret:
        raise ValueError(f"{setting}: expected a public_key and no secret for {entry.algorithm}")
    return _public(entry.public_key, spellings(entry.algorithm), entry.kid, f"{setting}.public_key")


def _secret(text: str, setting: str) -> bytes:
    if "-----BEGIN" in text:  # whoever has the public key could sign with it
        raise ValueError(f"{setting}: expected a secret, got a key in PEM form, which belongs in another setting")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{setting}: expected text in UTF-8") from None


def _public(pem: str, algorithms: tuple[str, ...], kid: str, setting: str) -> Key:
    from services.edge.tokens.token_public_keys import public_key_from_pem

    try:
        return public_key_from_pem(pem, algorithms, kid)
    except ValueError as error:
        raise ValueError(f"{setting}: {error}") from None
