"""Tokens that an application makes, read by the edge's own verifier."""

from __future__ import annotations

import jwt
import pytest
from msgspec import Raw

from fairlead import Tokens, connection_claims, subscription_claims
from services.edge.token_settings import TokenSettings, connection_tokens
from services.edge.tokens.token_keys import InvalidToken, KeySet, SecretKey
from services.edge.tokens.tokens import ExpiredToken, TokenVerifier

SECRET = "a-secret-that-both-sides-know-and-nobody-else-does"
NOW = 1_796_000_000.0


def verifier(secret: str = SECRET, audience: str = "", issuer: str = "") -> TokenVerifier:
    tokens = connection_tokens(TokenSettings(token_audience=audience, token_issuer=issuer))
    return TokenVerifier(KeySet([SecretKey(secret.encode())]), tokens)


def test_a_connection_token_is_taken_by_an_edge_with_everything_that_it_says():
    token = Tokens(SECRET).connection(
        "zoë", ttl_s=60, info={"name": "Zoë"}, meta={"plan": "pro"}, channels=["news:all"], session="tab 1", now=NOW
    )
    found = verifier().connection(token, NOW + 59)
    assert (found.user, found.expires_at, found.session_key) == ("zoë", NOW + 60, "tab 1")
    assert (found.info, found.meta) == (Raw(b'{"name":"Zo\\u00eb"}'), Raw(b'{"plan":"pro"}'))
    assert list(found.grants) == ["news:all"]
    with pytest.raises(ExpiredToken):
        verifier().connection(token, NOW + 60)


def test_subscriptions_of_a_connection_token_have_terms():
    token = Tokens(SECRET).connection("alice", subs={"chat:x": {"info": {"role": "owner"}}, "chat:y": {}}, now=NOW)
    found = verifier().connection(token, NOW)
    assert found.grants["chat:x"].info == Raw(b'{"role":"owner"}') and set(found.grants) == {"chat:x", "chat:y"}


def test_a_subscription_token_is_taken_by_an_edge():
    token = Tokens(SECRET).subscription("alice", "$orders:17", ttl_s=60, client="c1", info={"role": "x"}, now=NOW)
    found = verifier().subscription(token, NOW)
    assert (found.channel, found.user, found.client) == ("$orders:17", "alice", "c1")
    assert found.grant.info == Raw(b'{"role":"x"}')
    with pytest.raises(InvalidToken):
        verifier().connection(token, NOW)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_token_is_the_one_that_a_jwt_library_makes(algorithm):
    token = Tokens(SECRET * 2, algorithm=algorithm, kid="k1").connection("alice", now=NOW)
    claims = connection_claims("alice", now=NOW)
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "typ": "JWT", "kid": "k1"}
    decoded = jwt.decode(token, SECRET * 2, algorithms=[algorithm], options={"verify_iat": False, "verify_exp": False})
    assert decoded == claims == {"sub": "alice", "iat": int(NOW), "exp": int(NOW) + 900}


def test_audience_and_issuer_are_those_that_an_edge_demands():
    strict = verifier(audience="chat", issuer="shop")
    strict.connection(Tokens(SECRET, audience="chat", issuer="shop").connection("alice", now=NOW), NOW)
    with pytest.raises(InvalidToken):
        strict.connection(Tokens(SECRET).connection("alice", now=NOW), NOW)


def test_a_token_of_another_secret_is_not_taken():
    with pytest.raises(InvalidToken):
        verifier("another" * 8).connection(Tokens(SECRET).connection("alice", now=NOW), NOW)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: Tokens(""),
        lambda: Tokens(SECRET, algorithm="none"),
        lambda: Tokens(SECRET, algorithm="RS256"),
        lambda: Tokens(SECRET).connection(""),
        lambda: Tokens(SECRET).connection("alice", ttl_s=0),
        lambda: Tokens(SECRET).connection("alice", info=float("nan")),
        lambda: subscription_claims("alice", ""),
        lambda: subscription_claims("", "chat:x"),
    ],
)
def test_what_would_surprise_later_is_refused_at_once(mistake):
    with pytest.raises(ValueError):
        mistake()
