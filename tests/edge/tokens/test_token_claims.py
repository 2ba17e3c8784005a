"""What the claims of tokens must be, as the settings say, and the claim that has the user's id."""

from __future__ import annotations

from typing import Any

import pytest

from services.edge.adoption import verifier_of
from services.edge.client_settings import ClientSection
from services.edge.settings import EdgeSettings
from services.edge.tokens.configured_keys import key_sets
from services.edge.tokens.tokens import InvalidToken, TokenVerifier
from tests.edge.signers import SECRET, Signer

NOW = 1_767_225_600
SIGNER = Signer("HS256")


def verifier(**options: Any) -> TokenVerifier:
    section = ClientSection(**({"token_hmac_secret_key": SECRET} | options))
    return verifier_of(EdgeSettings(client=section), key_sets(section))


def user(by: TokenVerifier, **claims: Any) -> str:
    """Of a connection token with these claims."""
    return by.connection(SIGNER.token(**claims), NOW).user


def refused(by: TokenVerifier, **claims: Any) -> str:
    with pytest.raises(InvalidToken) as refusal:
        by.connection(SIGNER.token(**claims), NOW)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("aud", "good"), [("me", True), (["you", "me"], True), ("you", False), ([], False), ("", False)]
)
@pytest.mark.parametrize("option", ["token_audience", "token_audience_regex"])
def test_audience(option: str, aud: object, good: bool) -> None:
    by = verifier(**{option: "me"})
    if good:
        assert user(by, sub="42", aud=aud) == "42"
        assert by.subscription(SIGNER.token(channel="news", aud=aud), NOW).channel == "news"
    else:
        for claims in ({"aud": aud}, {}):
            assert "its aud is not what client.token_audience says" in refused(by, **claims)
            with pytest.raises(InvalidToken, match="aud"):
                by.subscription(SIGNER.token(channel="news", **claims), NOW)


def test_issuer() -> None:
    by = verifier(token_issuer="https://id.example.com/")
    assert user(by, sub="42", iss="https://id.example.com/") == "42"
    for claims in ({"iss": "https://id.example.com"}, {"iss": "https://id-example.com/"}, {"iss": ""}, {}):
        assert "iss" in refused(by, sub="42", **claims)


def test_a_pattern_of_the_issuer_must_match_all_of_it() -> None:
    by = verifier(token_issuer_regex=r"https://[a-z]+\.example\.com")
    assert user(by, sub="42", iss="https://shop.example.com") == "42"
    for issuer in ("https://shop.example.com.evil.example", "http://x/https://shop.example.com", "", "\n"):
        assert "iss" in refused(by, sub="42", iss=issuer)


def test_a_pattern_of_the_audience_must_match_all_of_one() -> None:
    by = verifier(token_audience_regex="tenant-[0-9]+")
    assert user(by, sub="42", aud=["x", "tenant-7"]) == "42"
    assert "aud" in refused(by, aud=["x", "tenant-7-of-others"])
    assert user(by, sub="42", aud=["x"] * 500 + ["tenant-7"]) == "42"
    for many in (["x"] * 2500, ["x" * 500] * 9):
        assert "aud" in refused(by, aud=[*many, "tenant-7"]), "so much is not looked at"
    assert "aud" in refused(by, aud="tenant-" + "7" * 600), "nor is such a long one"


class TestUserIdClaim:
    """`token_user_id_claim`."""

    BY = verifier(token_user_id_claim="uid")

    def test_it_takes_the_place_of_sub(self) -> None:
        assert user(self.BY, uid="alice", sub="other") == "alice"
        assert self.BY.subscription(SIGNER.token(channel="news", uid="alice"), NOW).user == "alice"

    def test_a_whole_number_is_an_id_too(self) -> None:
        assert user(self.BY, uid=42) == "42"

    def test_an_empty_one_is_anonymous(self) -> None:
        assert user(self.BY, uid="", sub="other") == ""

    @pytest.mark.parametrize(
        "claims", [{"sub": "alice"}, {"uid": None}, {"uid": True}, {"uid": 1.5}, {"uid": ["a"]}, {"uid": {}}]
    )
    def test_nobody_is_let_in_without_it(self, claims: dict[str, Any]) -> None:
        assert "client.token_user_id_claim" in refused(self.BY, **claims)


class TestSubscriptionTokens:
    """Subscription tokens with keys of their own."""

    OWN = "another secret, of the subscription tokens"
    BY = verifier(
        token_issuer="id",
        subscription_token_hmac_secret_key=OWN,
        subscription_token_audience="channels",
        subscription_token_user_id_claim="uid",
    )

    def subscribes(self, key: str, **claims: Any) -> str:
        return self.BY.subscription(Signer("HS256", key=key).token(channel="news", **claims), NOW).user

    def test_they_are_checked_by_their_own_options_alone(self) -> None:
        assert self.subscribes(self.OWN, aud="channels", uid="alice") == "alice"
        with pytest.raises(InvalidToken, match="subscription_token_audience"):
            self.subscribes(self.OWN, iss="id", uid="alice")

    def test_neither_kind_of_token_is_signed_with_the_other_s_key(self) -> None:
        with pytest.raises(InvalidToken, match="signature"):
            self.subscribes(SECRET, aud="channels", uid="alice")
        with pytest.raises(InvalidToken, match="signature"):
            self.BY.connection(Signer("HS256", key=self.OWN).token(sub="42", iss="id"), NOW)
        assert user(self.BY, sub="42", iss="id") == "42"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"token_issuer_regex": "("}, "client.token_issuer_regex to be a regular expression"),
        ({"token_issuer_regex": "(a+)+"}, "client.token_issuer_regex: expected no repeat (+) after a group"),
        ({"token_audience": "a", "token_audience_regex": "a"}, "client.token_audience or client.token_audience_regex"),
        ({"subscription_token_audience": "a"}, "expected a key for subscription tokens"),
        (
            {"subscription_token_hmac_secret_key": SECRET, "subscription_token_jwks_public_endpoint": "x"},
            "client.subscription_token_jwks_public_endpoint to be an address",
        ),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as refusal:
        ClientSection(**options)
    assert said in str(refusal.value)
