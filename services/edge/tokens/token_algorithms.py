"""The names of signature algorithms in tokens (RFC 7518, 8037, 9864), by the kind of key that they take."""

from __future__ import annotations

from typing import Final

HMAC_HASHES: Final = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
HMAC_ALGORITHMS: Final = tuple(HMAC_HASHES)
RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ECDSA_ALGORITHMS: Final = ("ES256", "ES384", "ES512")
ED25519_ALGORITHMS: Final = ("EdDSA", "Ed25519")  # two names of one algorithm
PUBLIC_ALGORITHMS: Final = RSA_ALGORITHMS + ECDSA_ALGORITHMS + ED25519_ALGORITHMS
ALGORITHMS: Final = HMAC_ALGORITHMS + PUBLIC_ALGORITHMS


def spellings(algorithm: str) -> tuple[str, ...]:
    """All names of one algorithm."""
    return ED25519_ALGORITHMS if algorithm in ED25519_ALGORITHMS else (algorithm,)
