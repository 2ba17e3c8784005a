"""Public keys for tokens, from PEM text or from a JWKS document. No I/O.

PyJWT and cryptography parse them, and verify signatures. Imported late: see `token_keys`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWTError
from jwt.algorithms import get_default_algorithms
from msgspec import Meta, Raw, Struct

from services.edge.tokens.token_algorithms import ECDSA_ALGORITHMS, ED25519_ALGORITHMS, RSA_ALGORITHMS, spellings
from services.edge.tokens.token_keys import BadJwks

JWKS_KEYS_LIMIT: Final = 100
"""Keys in one document. Identity providers have two to ten."""

_RSA_BITS: Final = (2048, 8192)  # RFC 7518 (3.3) requires 2048; with more than 8192, a signature costs milliseconds
_CURVES: Final = dict(zip(("secp256r1", "secp384r1", "secp521r1"), ECDSA_ALGORITHMS, strict=True))
_LABEL: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----")

_verifiers = get_default_algorithms()
_verifiers["Ed25519"] = _verifiers["EdDSA"]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key; `material` is cryptography's object for it."""

    material: Any = field(repr=False)
    algorithms: tuple[str, ...]
    kid: str = ""

    def signed(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        return _verifiers[algorithm].verify(message, self.material, signature)


def public_key_from_pem(text: str, algorithms: Collection[str], kid: str = "") -> PublicKey:
    r"""The key in `text`, for those of `algorithms` that it supports. "\n" may stand for a line break.

    Raises ValueError if there is none; its text does not show the key.
    """
    text = text.replace("\\n", "\n").strip()
    if "PRIVATE KEY" in text:
        raise ValueError("expected a public key, got a private one, which an edge must not have")
    try:
        material = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        label = _LABEL.match(text)
        got = f"one of the kind {label[1]!r} that cannot be read" if label else "something else"
        raise ValueError(f'expected a public key in PEM form ("-----BEGIN PUBLIC KEY-----"), got {got}') from None
    return _public_key(material, algorithms, kid)


def _public_key(material: object, wanted: Collection[str], kid: str) -> PublicKey:
    possible = tuple(algorithm for algorithm in _algorithms_of(material) if algorithm in wanted)
    if not possible:
        raise ValueError(
            f"expected a key for {' or '.join(wanted)}, got one for {' or '.join(_algorithms_of(material))}"
        )
    return PublicKey(material, possible, kid)


def _algorithms_of(material: object) -> tuple[str, ...]:
    """The algorithms that a key supports. Raises ValueError if there are none."""
    if isinstance(material, RSAPublicKey):
        if not _RSA_BITS[0] <= material.key_size <= _RSA_BITS[1]:
            raise ValueError(f"expected an RSA key of {_RSA_BITS[0]} to {_RSA_BITS[1]} bits, got {material.key_size}")
        return RSA_ALGORITHMS
    if isinstance(material, EllipticCurvePublicKey) and material.curve.name in _CURVES:
        return (_CURVES[material.curve.name],)
    if isinstance(material, Ed25519PublicKey):
        return ED25519_ALGORITHMS
    raise ValueError("expected a key of RSA, Ed25519, or ECDSA on P-256, P-384 or P-521")


class _Jwk(Struct, frozen=True):
    kty: str
    kid: str = ""
    use: str = "sig"
    key_ops: tuple[str, ...] = ("verify",)
    alg: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""
    n: str = ""
    e: str = ""
    d: str = ""


class _Jwks(Struct, frozen=True):
    keys: Annotated[list[Raw], Meta(max_length=JWKS_KEYS_LIMIT)]


_KINDS: Final = {
    "RSA": (_verifiers["RS256"], RSA_ALGORITHMS),
    "EC": (_verifiers["ES256"], ECDSA_ALGORITHMS),
    "OKP": (_verifiers["EdDSA"], ED25519_ALGORITHMS),
}
_decode_jwks = msgspec.json.Decoder(_Jwks).decode
_decode_jwk = msgspec.json.Decoder(_Jwk).decode


def keys_from_jwks(document: bytes) -> tuple[list[PublicKey], list[str]]:
    """The keys of a JWKS document that can check tokens, and for each other one the reason why it cannot.

    Raises `BadJwks` if it is not such a document. The texts show nothing of its content.
    """
    try:
        document.decode()
        entries = _decode_jwks(document).keys
    except (ValueError, RecursionError) as error:
        kind = error if isinstance(error, msgspec.ValidationError) else "not JSON"
        raise BadJwks(f"expected a JWKS document: {kind}") from None
    keys, refusals = [], []
    for number, entry in enumerate(entries):
        try:
            keys.append(_key_from_jwk(bytes(entry)))
        except ValueError as error:
            refusals.append(f"keys[{number}]: {error}")
    return keys, refusals


def _key_from_jwk(entry: bytes) -> PublicKey:
    try:
        jwk = _decode_jwk(entry)
    except (ValueError, RecursionError):
        raise ValueError("is not a JWK") from None
    if jwk.kty == "oct":
        raise ValueError("is a secret, in a public document")
    if jwk.d:
        raise ValueError("is a private key, in a public document")
    if jwk.use != "sig" or "verify" not in jwk.key_ops:
        raise ValueError("is not for signatures")
    if jwk.kty not in _KINDS:
        raise ValueError("is of a type that does not sign tokens")
    reader, algorithms = _KINDS[jwk.kty]
    if jwk.alg and jwk.alg not in algorithms:
        raise ValueError("is for an algorithm that its type does not support")
    parts = {"kty": jwk.kty, "crv": jwk.crv, "x": jwk.x, "y": jwk.y, "n": jwk.n, "e": jwk.e}
    try:
        material = reader.from_jwk({name: value for name, value in parts.items() if value})
    except (PyJWTError, ValueError, UnsupportedAlgorithm):
        raise ValueError("has numbers that are not a key") from None
    return _public_key(material, spellings(jwk.alg) if jwk.alg else algorithms, jwk.kid)
