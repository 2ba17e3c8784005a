"""What claims hold for others: null, half of an emoji, and JSON that nests too deep."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest

from services.edge.rejection import Rejected
from services.edge.tokens.token_keys import KeySet, SecretKey
from services.edge.tokens.tokens import Identity, TokenVerifier
from tests.edge.signers import SECRET

VERIFIER = TokenVerifier(KeySet([SecretKey(SECRET.encode())]))


def connection(**claims: Any) -> Identity:
    return VERIFIER.connection(jwt.encode(claims, SECRET, algorithm="HS256"), 0)


@pytest.mark.parametrize(
    "name", ["sub", "exp", "nbf", "expire_at", "aud", "channel", "client", "sid", "b64info", "override"]
)
def test_a_claim_that_is_null_is_the_same_as_none(name: str) -> None:
    assert connection(**({"sub": "42"} | {name: None})) == connection(**({"sub": "42"} if name != "sub" else {}))


def test_half_of_an_emoji_in_info_is_handed_on() -> None:
    identity = connection(info="\ud83d", meta={"m": "\ude00"}, subs={"news": {"info": "\ud83d", "data": ["\ud83d"]}})
    assert bytes(identity.info) == b'"\\ud83d"' and json.loads(bytes(identity.meta)) == {"m": "\ude00"}
    assert bytes(identity.grants["news"].info) == b'"\\ud83d"'


@pytest.mark.parametrize("claim", ["info", "meta", "subs", "b64info"])
def test_a_payload_that_nests_too_deep_is_a_bad_request_and_not_a_forged_token(claim: str) -> None:
    for levels in (129, 900):
        deep = json.loads("[" * 129 + "]" * 129)
        for _ in range(levels - 129):
            deep = [deep]
        value = (
            {"news": {"data": deep}}
            if claim == "subs"
            else base64.b64encode(b"[" * levels + b"]" * levels).decode()
            if claim == "b64info"
            else deep
        )
        with pytest.raises(Rejected, match="nested deeper") as refusal:
            connection(**{claim: value})
        assert refusal.value.error.code == 107
