"""The keys for tokens: finds the key of a token, and checks its signature. No I/O, no clock.

A token names an algorithm and perhaps a key (`kid`), and neither is trusted: a key is only used with the algorithms for
which it was configured. A public key therefore never serves as an HMAC secret, and "none" is not an algorithm.

HMAC comes from the standard library. Public keys are in `token_public_keys`, which is imported only if there are any:
its dependencies take 115 ms to load, and 13 MB of memory.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from services.edge.tokens.token_algorithms import (
    ALGORITHMS,
    HMAC_ALGORITHMS,
    HMAC_HASHES,
    PUBLIC_ALGORITHMS,
)

PROVEN_LIMIT: Final = 16384
"""Tokens whose valid signature is remembered, so that it need not be verified again (up to half a millisecond each)
when all clients reconnect at once. About 3 MB."""


class InvalidToken(Exception):
    """The token is forged, malformed, or meant for something else. The text is for the log; it holds no secret."""


class UnknownKey(Exception):
    """No key of `keys` fits, but their JWKS endpoint may have it: read it (`token_keys_http`), then verify again."""

    def __init__(self, kid: str, keys: KeySet) -> None:
        super().__init__("its key is not known yet")
        self.kid = kid
        self.keys = keys


class BadJwks(ValueError):
    """The endpoint of the keys did not serve a JWKS document. The text shows nothing of what it served."""


class Key(Protocol):
    """One key."""

    @property
    def kid(self) -> str:
        """The key's id in tokens, "" for none."""

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms with which it may be used."""

    def signed(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's for `message`. `algorithm` is one of `algorithms`."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A secret that is shared with the signer of tokens."""

    secret: bytes = field(repr=False)
    algorithms: tuple[str, ...] = HMAC_ALGORITHMS
    kid: str = ""

    def signed(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(self.secret, message, HMAC_HASHES[algorithm]), signature)


class KeySet:
    """Configured keys, and keys from the JWKS endpoint; `fetched` says whether there is an endpoint, `url` is its
    address, and `setting` the option that has the address.
    """

    def __init__(self, keys: Iterable[Key] = (), fetched: bool = False, url: str = "", setting: str = "") -> None:
        self._fetched = fetched
        self.url = url
        self.setting = setting
        self._own: tuple[Key, ...] = ()
        self._from_endpoint: tuple[Key, ...] = ()
        self._by_kid: dict[str, list[Key]] = {}
        self._proven: OrderedDict[bytes, None] = OrderedDict()
        self.replace_configured(keys)

    @property
    def empty(self) -> bool:
        """Whether no token can ever be valid."""
        return not self._own and not self._fetched

    @property
    def has_fetched(self) -> bool:
        """Whether the endpoint has given keys."""
        return bool(self._from_endpoint)

    def of(self, names: Mapping[str, str | None]) -> KeySet:
        """The keys for a token whose claims have these names in them: see `tenant_keys`."""
        return self

    def replace_configured(self, keys: Iterable[Key]) -> None:
        """Replaces the configured keys. Tokens that only a previous key signed are no longer valid."""
        self._own = tuple(keys)
        self._sort()

    def replace_fetched(self, keys: Iterable[Key]) -> None:
        """Replaces the keys from the endpoint. Tokens that only a previous key signed are no longer valid."""
        self._from_endpoint = tuple(keys)
        self._sort()

    def _sort(self) -> None:
        self._proven.clear()
        self._by_kid = {}
        for key in (*self._own, *self._from_endpoint):
            self._by_kid.setdefault(key.kid, []).append(key)

    def check(self, algorithm: str, kid: str, message: bytes, signature: bytes) -> None:
        """Verifies the signature of a token with the keys that may have signed it. Raises `InvalidToken`, `UnknownKey`.

        `message` is the signed text, which is the first two parts of the token; `algorithm` and `kid` (the id of the
        key, "" for none) come from its header.
        """
        keys = self._candidates(algorithm, kid)
        if algorithm in HMAC_HASHES:  # to verify it is cheaper than to remember it
            if not any(key.signed(algorithm, message, signature) for key in keys):
                raise InvalidToken("its signature does not match")
            return
        # The message enters as a digest, which has a fixed length: otherwise bytes could move from it to the signature.
        digest = hashlib.sha256(hashlib.sha256(message).digest() + signature).digest()
        if digest in self._proven:
            self._proven.move_to_end(digest)
            return
        if not any(key.signed(algorithm, message, signature) for key in keys):
            raise InvalidToken("its signature does not match")
        self._proven[digest] = None
        if len(self._proven) > PROVEN_LIMIT:
            self._proven.popitem(last=False)

    def _candidates(self, algorithm: str, kid: str) -> Sequence[Key]:
        """The keys, at least one, that may have signed such a token. Raises `InvalidToken`, `UnknownKey`."""
        if self.empty:
            raise InvalidToken("no key is configured (client.token_hmac_secret_key and others)")
        if algorithm not in ALGORITHMS:
            raise InvalidToken("its algorithm is not supported")
        named = self._by_kid.get(kid, [])
        if keys := [key for key in named if algorithm in key.algorithms]:
            return keys
        if kid and named:
            raise InvalidToken("the key that it names is for another algorithm")
        if self._fetched and algorithm in PUBLIC_ALGORITHMS:
            raise UnknownKey(kid, self)
        # Many backends always put a `kid` into tokens. It is ignored if no configured key of the algorithm has one.
        if kid and not any(key.kid for key in self._own if algorithm in key.algorithms):
            keys = [key for key in self._by_kid.get("", []) if algorithm in key.algorithms]
        if not keys:
            raise InvalidToken("no key is configured for its algorithm and kid")
        return keys
