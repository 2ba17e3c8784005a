"""Tokens of many issuers, each of which is checked with the keys at its own address."""

from __future__ import annotations

from typing import Any

import pytest

from services.edge.adoption import verifier_of
from services.edge.client_settings import ClientSection
from services.edge.settings import EdgeSettings
from services.edge.tokens import tenant_keys
from services.edge.tokens.configured_keys import key_sets
from services.edge.tokens.token_keys import InvalidToken, KeySet, UnknownKey
from services.edge.tokens.token_public_keys import keys_from_jwks
from services.edge.tokens.tokens import TokenVerifier
from tests.edge.signers import Signer, jwks, signer

NOW = 1_767_225_600
SHOP, BANK = signer("ES256", "shop"), signer("ES256", "bank")
OPTIONS: dict[str, Any] = {
    "token_issuer_regex": r"https://id\.example\.com/(?P<realm>.+)",
    "token_jwks_public_endpoint": "https://id.example.com/{{realm}}/certs",
}


def verifier(**options: Any) -> TokenVerifier:
    section = ClientSection(**(OPTIONS | options))
    return verifier_of(EdgeSettings(client=section), key_sets(section))


def issuer(realm: str) -> str:
    return f"https://id.example.com/{realm}"


def asked(by: TokenVerifier, token: str) -> KeySet:
    """The keys that the token needs, which are not there yet."""
    with pytest.raises(UnknownKey) as unknown:
        by.connection(token, NOW)
    return unknown.value.keys


def teach(keys: KeySet, *signers: Signer) -> None:
    keys.replace_fetched(keys_from_jwks(jwks(*(each.jwk() for each in signers)))[0])


def test_each_issuer_has_an_address_of_its_own() -> None:
    by = verifier()
    shop, bank = (asked(by, each.token(sub="42", iss=issuer(each.kid))) for each in (SHOP, BANK))
    assert (shop.url, bank.url) == ("https://id.example.com/shop/certs", "https://id.example.com/bank/certs")
    teach(shop, SHOP)
    assert by.connection(SHOP.token(sub="42", iss=issuer("shop")), NOW).user == "42"


def test_no_issuer_signs_for_another_one() -> None:
    by = verifier()
    teach(asked(by, SHOP.token(iss=issuer("shop"))), SHOP)
    teach(asked(by, BANK.token(iss=issuer("bank"))), BANK)
    forged = Signer("ES256", "bank", key=SHOP.key).token(sub="42", iss=issuer("bank"))
    with pytest.raises(InvalidToken, match="signature"):
        by.connection(forged, NOW)
    asked(by, SHOP.token(sub="42", iss=issuer("bank")))  # the bank has no such key


@pytest.mark.parametrize(
    "realm", ["a/b", "..", "a/../../x", "a%2fb", "a?b", "a#b", "a b", ".a", "a.", "é", "@evil.example", "x" * 129, "\n"]
)
def test_a_token_chooses_no_other_address(realm: str) -> None:
    with pytest.raises(InvalidToken):
        verifier().connection(SHOP.token(iss=issuer(realm)), NOW)


def test_a_token_of_no_issuer_is_refused_before_any_key_is_asked_for() -> None:
    for claims in ({}, {"iss": "https://id.example.org/shop"}, {"iss": issuer("x" * 1000)}):
        with pytest.raises(InvalidToken):
            verifier().connection(SHOP.token(**claims), NOW)


def test_an_audience_may_have_a_name_too() -> None:
    by = verifier(
        token_audience_regex=r"(?P<tenant>[a-z]+)-web",
        token_jwks_public_endpoint="https://{{tenant}}.example.com/{{realm}}",
    )
    assert asked(by, SHOP.token(iss=issuer("r"), aud=["x", "blue-web"])).url == "https://blue.example.com/r"


def test_made_up_issuers_do_not_push_out_those_with_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_keys, "MOST", 3)
    by = verifier()
    shop = asked(by, SHOP.token(iss=issuer("shop")))
    teach(shop, SHOP)
    made_up = [asked(by, BANK.token(iss=issuer(f"t{number}"))) for number in range(10)]
    assert by.connection(SHOP.token(sub="42", iss=issuer("shop")), NOW).user == "42"
    assert asked(by, BANK.token(iss=issuer("t9"))) is made_up[9]
    assert asked(by, BANK.token(iss=issuer("t0"))) is not made_up[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"token_issuer_regex": "https://.*"}, "a group (?P<realm>...) in client.token_issuer_regex"),
        ({"token_jwks_public_endpoint": "https://{{realm}}/keys"}, "a host that ends in your own name"),
        ({"token_jwks_public_endpoint": "https://{{realm}}example.com/keys"}, "a host that ends in your own name"),
        ({"token_jwks_public_endpoint": "https://x:{{realm}}@example.com/keys"}, "a host that ends in your own name"),
        ({"token_hmac_secret_key": "a secret of the tests, long"}, "remove client.token_hmac_secret_key,"),
    ],
)
def test_a_template_that_is_unsafe_or_incomplete(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as refusal:
        ClientSection(**(OPTIONS | options))
    assert said in str(refusal.value)
