"""Connection tokens: the claims of the reference (3.9), and every way to get them wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.edge.tokens import ExpiredToken, Identity, InvalidToken, TokenVerifier

SECRET = "a secret of the tests, " * 3
NOW = 1_767_225_600
VERIFIER = TokenVerifier(SECRET)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: str, payload: str) -> str:
    """A token with a good signature around any header and payload."""
    body = f"{b64(header.encode())}.{b64(payload.encode())}"
    return f"{body}.{b64(hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).digest())}"


def token(**claims: Any) -> str:
    return signed('{"alg":"HS256"}', json.dumps(claims))


def verify(**claims: Any) -> Identity:
    return VERIFIER.verify(token(**claims), NOW)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_hmac_tokens(algorithm: str) -> None:
    assert VERIFIER.verify(jwt.encode({"sub": "42"}, SECRET, algorithm=algorithm), NOW) == Identity(user="42")


def test_claims() -> None:
    assert verify(
        sub="42", exp=NOW + 60, sid="phone", iat=NOW + 999, jti="x", aud="a", iss="b", meta={"a": 1}
    ) == Identity(user="42", expires_at=NOW + 60, session_key="phone")


def test_no_sub_is_anonymous() -> None:
    assert verify().user == ""
    assert verify(sub="").user == ""


@pytest.mark.parametrize("claims", [{"exp": NOW - 1}, {"exp": NOW}, {"exp": 1}, {"nbf": NOW + 1}])
def test_expired_or_not_valid_yet(claims: dict[str, Any]) -> None:
    with pytest.raises(ExpiredToken):
        verify(sub="42", **claims)


def test_not_expired() -> None:
    assert verify(exp=NOW + 1, nbf=NOW).expires_at == NOW + 1


def test_expire_at_overrides_the_connection_s_end_not_the_token_s() -> None:
    assert verify(exp=NOW + 1, expire_at=NOW + 99).expires_at == NOW + 99
    assert verify(exp=NOW + 1, expire_at=0).expires_at == 0
    with pytest.raises(ExpiredToken):
        verify(exp=NOW - 1, expire_at=NOW + 99)


@pytest.mark.parametrize(
    "claims",
    [
        {"channel": "news"},
        {"channel": ""},
        {"sub": 42},
        {"sub": None},
        {"sub": ["42"]},
        {"sub": "\ud800"},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": -1},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 2**60},
        {"nbf": "x"},
        {"expire_at": "x"},
        {"expire_at": None},
        {"info": float("nan")},
        {"info": "\ud800"},
        {"b64info": 7},
        {"b64info": "not base64"},
        {"b64info": "é"},
        {"b64info": b64(b"no json") + "="},
    ],
    ids=str,
)
def test_claims_of_another_kind(claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        verify(**({"sub": "42"} | claims))


@pytest.mark.parametrize("key", [7, None, "\ud800"])
def test_a_session_key_of_another_kind_is_none(key: object) -> None:
    assert verify(sub="42", sid=key).session_key == ""


@pytest.mark.parametrize("info", [{"name": "Jürgen 🎉"}, [1, 2.5], "x", 0, False, ""])
def test_info_is_handed_on_as_compact_json(info: object) -> None:
    raw = bytes(verify(info=info).info)
    assert json.loads(raw) == info
    assert raw == json.dumps(info, ensure_ascii=False, separators=(",", ":")).encode()


def test_no_info() -> None:
    assert bytes(verify(info=None).info) == b""


def test_b64info_is_handed_on_without_line_breaks() -> None:
    encoded = base64.b64encode(b'{\r\n "a": 1}').decode()
    assert bytes(verify(b64info=encoded, info="ignored").info) == b'{ "a": 1}'


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "x",
        "a.b.c",
        "ä.ö.ü",
        token() + "x",
        token()[:-4],
        "." * 10,
        jwt.encode({"sub": "42"}, SECRET + "!", algorithm="HS256"),
        b64(b'{"alg":"none"}') + "." + b64(b'{"sub":"42"}') + ".",
        signed('{"alg":"none"}', '{"sub":"42"}'),
        signed('{"alg":"RS256"}', '{"sub":"42"}'),
        signed('{"alg":["HS256"]}', '{"sub":"42"}'),
        signed("{}", '{"sub":"42"}'),
        signed("[]", '{"sub":"42"}'),
        signed("x", '{"sub":"42"}'),
        signed('{"alg":"HS256","crit":["x"]}', '{"sub":"42"}'),
        signed('{"alg":"HS256"}', "[]"),
        signed('{"alg":"HS256"}', "x"),
        signed('{"alg":"HS256"}', "[" * 100_000),
        signed('{"alg":"HS256"}', '{"exp":' + "9" * 5000 + "}"),
    ],
    ids=range(20),
)
def test_forged_and_malformed_tokens(forged: str) -> None:
    with pytest.raises(InvalidToken) as refusal:
        VERIFIER.verify(forged, NOW)
    assert SECRET not in str(refusal.value)


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=60) | st.lists(st.sampled_from([*token(sub="42").split("."), ".", "a"]), max_size=6).map("".join)
)
def test_any_text_is_no_token(text: str) -> None:
    with pytest.raises(InvalidToken):
        VERIFIER.verify(text, NOW)


def test_without_a_secret_no_token_is_good() -> None:
    with pytest.raises(InvalidToken, match=r"client\.token_hmac_secret_key"):
        TokenVerifier("").verify(signed('{"alg":"HS256"}', "{}"), NOW)


def test_insecure_ignores_time_and_nothing_else() -> None:
    insecure = TokenVerifier(SECRET, insecure=True)
    assert insecure.verify(token(sub="42", exp=1, nbf=NOW + 9), NOW) == Identity(user="42")
    with pytest.raises(InvalidToken):
        insecure.verify(token(sub="42") + "x", NOW)
