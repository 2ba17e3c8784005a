"""Public keys in JWKS documents: those that can be used, and why the others are not."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.edge.tokens.token_keys import BadJwks
from services.edge.tokens.token_public_keys import JWKS_KEYS_LIMIT, keys_from_jwks
from tests.edge.signers import Signer, b64, jwks, new_rsa_key, signer

RSA, EC, ED = signer("RS256", "r"), signer("ES256", "e"), signer("EdDSA", "d")


@pytest.mark.parametrize(
    ("jwk", "algorithms"),
    [
        (RSA.jwk(), ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        (RSA.jwk(alg="PS256", use="sig"), ("PS256",)),
        (RSA.jwk(alg="RS512", key_ops=["verify"], x5t="ignored", x5c=["ignored"]), ("RS512",)),
        (EC.jwk(), ("ES256",)),
        (signer("ES384").jwk(kid="k"), ("ES384",)),
        (signer("ES512").jwk(), ("ES512",)),
        (EC.jwk(alg="ES256"), ("ES256",)),
        (ED.jwk(), ("EdDSA", "Ed25519")),
        (ED.jwk(alg="EdDSA"), ("EdDSA", "Ed25519")),
        (ED.jwk(alg="Ed25519"), ("EdDSA", "Ed25519")),
    ],
    ids=lambda value: value.get("kty") if isinstance(value, dict) else "",
)  # fmt: skip
def test_keys_and_what_they_are_for(jwk: dict[str, Any], algorithms: tuple[str, ...]) -> None:
    (key,), refusals = keys_from_jwks(jwks(jwk))
    assert (key.kid, key.algorithms, refusals) == (jwk.get("kid", ""), algorithms, [])


def test_a_key_checks_what_its_owner_signed() -> None:
    for by in (RSA, EC, signer("ES384"), signer("ES512"), ED):
        (key,), _ = keys_from_jwks(jwks(by.jwk()))
        message, _, signature = by.token(sub="42").rpartition(".")
        for part in range(2):
            good = key.signed(by.algorithm, message.encode()[part:], _decoded(signature))
            assert good is (part == 0)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


@pytest.mark.parametrize(
    ("jwk", "said"),
    [
        ({"kty": "oct", "k": b64(b"hunter2" * 8), "kid": "k", "alg": "HS256"}, "is a secret"),
        (RSA.jwk(d="AQAB"), "is a private key"),
        (RSA.jwk(use="enc"), "is not for signatures"),
        (RSA.jwk(key_ops=["encrypt"]), "is not for signatures"),
        (RSA.jwk(alg="RSA-OAEP"), "is for an algorithm that"),
        (RSA.jwk(alg="HS256"), "is for an algorithm that"),
        (RSA.jwk(alg="ES256"), "is for an algorithm that"),
        (EC.jwk(alg="ES384"), "expected a key for ES384, got one for ES256"),
        (RSA.jwk(kty="AKP"), "is of a type"),
        (RSA.jwk(n=None), "has numbers that are not a key"),
        (RSA.jwk(e="AA"), "has numbers that are not a key"),
        (RSA.jwk(n="AQAB"), ""),
        (RSA.jwk(n="A" * 10_000), ""),
        (Signer("RS256", key=new_rsa_key(1024)).jwk(), "expected an RSA key of 2048 to 8192 bits, got 1024"),
        (EC.jwk(x=EC.jwk()["y"], y=EC.jwk()["x"]), "has numbers that are not a key"),
        (EC.jwk(x="é"), "has numbers that are not a key"),
        (EC.jwk(crv="secp256k1"), ""),
        (ED.jwk(crv="Ed448"), "has numbers that are not a key"),
        (ED.jwk(crv="X25519"), "has numbers that are not a key"),
        (RSA.jwk(kid=7), "is not a JWK"),
        ({"kid": "k"}, "is not a JWK"),
        ("x", "is not a JWK"),
        (None, "is not a JWK"),
    ],
    ids=range(23),
)  # fmt: skip
def test_other_keys_are_left_out(jwk: object, said: str) -> None:
    keys, refusals = keys_from_jwks(jwks(jwk, EC.jwk()))
    assert [key.kid for key in keys] == ["e"]
    (refusal,) = refusals
    assert refusal.startswith(f"keys[0]: {said}")
    assert "hunter2" not in refusal and b64(b"hunter2" * 8) not in refusal


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>hunter2</html>",
        b"[]",
        b"{}",
        b'{"keys":null}',
        b'{"keys":{"hunter2":1}}',
        b'{"keys":["\xff"]}',
        b"[" * 100_000,
        b'{"keys":' + b"[" * 100_000,
        jwks(*[EC.jwk()] * (JWKS_KEYS_LIMIT + 1)),
    ],
    ids=range(10),
)
def test_other_documents_are_none(document: bytes) -> None:
    with pytest.raises(BadJwks) as refusal:
        keys_from_jwks(document)
    assert "hunter2" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


def test_a_document_may_have_no_keys() -> None:
    assert keys_from_jwks(b'{"keys":[]}') == ([], [])


VALUES = st.none() | st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=3), max_size=2) | st.just("AQAB")


@settings(max_examples=200)
@given(
    st.sampled_from([RSA, EC, ED]), st.dictionaries(st.sampled_from(sorted(RSA.jwk() | EC.jwk())), VALUES, max_size=3)
)
def test_any_jwk_is_a_key_or_is_refused(by: Signer, members: dict[str, Any]) -> None:
    keys, refusals = keys_from_jwks(json.dumps({"keys": [by.jwk() | members]}).encode())
    assert len(keys) + len(refusals) == 1
    for key in keys:
        assert not key.signed(key.algorithms[0], b"a.b", b"x" * 64)
