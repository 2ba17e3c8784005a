"""Signers of tokens: one key each, its public form as PEM and as JWK, and tokens with any claims."""

from __future__ import annotations

import base64
import json
from functools import cache, cached_property
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import get_default_algorithms

SECRET = "a secret of the tests, " * 3  # as long as HS512 wants it (RFC 7518, 3.2)
_CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def new_rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def _new_key(algorithm: str) -> Any:
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm])
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else new_rsa_key()


class Signer:
    """Signs with a key of its own, or with `key`; with a secret if the algorithm is HMAC."""

    def __init__(self, algorithm: str, kid: str = "", key: Any = None) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.key: Any = key or (SECRET if algorithm.startswith("HS") else _new_key(algorithm))

    def token(self, **claims: Any) -> str:
        return jwt.encode(claims, self.key, self.algorithm, headers={"kid": self.kid} if self.kid else None)

    def signed(self, header: str, payload: str) -> str:
        """A token with a good signature around any header and payload."""
        body = f"{b64(header.encode())}.{b64(payload.encode())}"
        algorithm = get_default_algorithms()[self.algorithm]
        return f"{body}.{b64(algorithm.sign(body.encode(), algorithm.prepare_key(self.key)))}"

    @cached_property
    def pem(self) -> str:
        encoded: bytes = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return encoded.decode()

    @property
    def private_pem(self) -> str:
        encoded: bytes = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return encoded.decode()

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The public key as a JWK with its kid, and with `members`; without those that are None."""
        numbers = json.loads(get_default_algorithms()[self.algorithm].to_jwk(self.key.public_key()))
        numbers |= {"kid": self.kid} if self.kid else {}
        return {name: value for name, value in (numbers | members).items() if value is not None}


@cache
def signer(algorithm: str, kid: str = "") -> Signer:
    """The same one for all tests: an RSA key takes a while to make."""
    return Signer(algorithm, kid)


def jwks(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()
