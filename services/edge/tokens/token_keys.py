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
from typing import Final, Protocol

from services.edge.tokens.token_algorithms import (
    ALGORITHMS,
    HMAC_ALGORITHMS,
    HMAC_HASHES,
    PUBLIC_ALGORITHMS,
)

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


class BadJwks(ValueError):
    """The endpoint of the keys did not serve a JWKS document. The text shows nothing of what it served."""


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
