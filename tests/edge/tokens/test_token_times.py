"""Tokens and time: `exp`, `expire_at` and `nbf`."""

from __future__ import annotations

from typing import Any

import pytest

from services.edge.tokens.tokens import ExpiredToken, Identity, InvalidToken, SubscriptionClaims, TokenVerifier
from tests.edge.tokens.test_tokens import KEYS, NOW, connection, subscription, token


@pytest.mark.parametrize(
    "claims",
    [{"exp": NOW - 1}, {"exp": NOW}, {"exp": 1}, {"exp": 0.5}, {"nbf": NOW + 1}, {"expire_at": NOW}],
    ids=str,
)
def test_expired_or_not_valid_yet(claims: dict[str, Any]) -> None:
    with pytest.raises(ExpiredToken):
        connection(sub="42", **claims)
    with pytest.raises(ExpiredToken):
        subscription(sub="42", **claims)


def test_not_expired() -> None:
    assert connection(exp=NOW + 1, nbf=NOW).expires_at == NOW + 1
    assert connection(exp=NOW + 1.5).expires_at == NOW + 1
    assert connection(exp=0).expires_at == 0


def test_expire_at_overrides_the_connection_s_end_not_the_token_s() -> None:
    assert connection(exp=NOW + 1, expire_at=NOW + 99).expires_at == NOW + 99
    assert connection(exp=NOW + 1, expire_at=0).expires_at == 0
    with pytest.raises(ExpiredToken):
        connection(exp=NOW - 1, expire_at=NOW + 99)


def test_expire_at_overrides_the_subscription_s_end() -> None:
    assert subscription(exp=NOW + 1, expire_at=NOW + 99).grant.expires_at == NOW + 99
    assert subscription(exp=NOW + 1, expire_at=0).grant.expires_at == 0


def test_a_token_may_be_a_little_early() -> None:
    """The clock of whoever signed it may be ahead: without a leeway a fresh token would be refused as too early."""
    verifier = TokenVerifier(KEYS, nbf_leeway_s=5)
    assert verifier.connection(token(sub="42", nbf=NOW + 5), NOW) == Identity(user="42")
    assert verifier.subscription(token(channel="a", nbf=NOW + 5), NOW) == SubscriptionClaims(channel="a")
    for early in ({"nbf": NOW + 6}, {"nbf": NOW + 5, "exp": NOW}):
        with pytest.raises(ExpiredToken):
            verifier.connection(token(sub="42", **early), NOW)
        with pytest.raises(ExpiredToken):
            verifier.subscription(token(channel="a", **early), NOW)


def test_insecure_connections_never_expire_but_expired_tokens_are_refused() -> None:
    """An application sees how its client gets a new token (109) also with insecure edges."""
    insecure = TokenVerifier(KEYS, insecure=True)
    assert insecure.connection(token(sub="42", exp=NOW + 9), NOW) == Identity(user="42")
    assert insecure.subscription(token(channel="a", exp=NOW + 9), NOW) == SubscriptionClaims(channel="a")
    for expired in ({"exp": NOW - 1}, {"exp": NOW + 9, "expire_at": NOW - 1}, {"nbf": NOW + 9}):
        with pytest.raises(ExpiredToken):
            insecure.connection(token(sub="42", **expired), NOW)
        with pytest.raises(ExpiredToken):
            insecure.subscription(token(channel="a", **expired), NOW)
    with pytest.raises(InvalidToken):
        insecure.connection(token(sub="42") + "x", NOW)
