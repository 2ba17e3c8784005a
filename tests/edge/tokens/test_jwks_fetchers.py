"""All endpoints of an edge, read from a real server on the loopback: for subscription tokens, and for each issuer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from services.edge.adoption import verifier_of
from services.edge.client_settings import ClientSection
from services.edge.settings import EdgeSettings
from services.edge.tokens import jwks_fetchers
from services.edge.tokens.configured_keys import key_sets
from services.edge.tokens.jwks_fetchers import NEW_TENANTS, JwksFetchers
from services.edge.tokens.token_keys import InvalidToken, UnknownKey
from tests.edge.signers import SECRET, Signer, jwks, signer
from tests.edge.tokens.test_token_keys_http import Endpoint

NOW = 1_767_225_600
SHOP, BANK = signer("ES256", "shop"), signer("ES256", "bank")


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    yield Endpoint()


@pytest_asyncio.fixture
async def host(endpoint: Endpoint) -> AsyncIterator[str]:
    server = await asyncio.start_server(endpoint.answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    endpoint.open.set()
    server.close()
    await server.wait_closed()


class Edge:
    """The verifier of an edge and its fetchers."""

    def __init__(self, **options: Any) -> None:
        section = ClientSection(**options)
        self.now = 1000.0
        self.keys = key_sets(section)
        self.fetchers = JwksFetchers(section, self.keys, lambda: self.now)
        self.verifier = verifier_of(EdgeSettings(client=section), self.keys)

    async def user(self, by: Signer, iss: str) -> str:
        """Of a connection token; its key is looked up if it is unknown. "" for one that cannot be found."""
        token = by.token(sub="42", iss=iss)
        try:
            return self.verifier.connection(token, NOW).user
        except UnknownKey as unknown:
            if not await self.fetchers.wanted(unknown.kid, unknown.keys):
                return ""
        return self.verifier.connection(token, NOW).user


@pytest_asyncio.fixture
async def tenants(host: str) -> AsyncIterator[Edge]:
    """An edge whose issuers have an address each."""
    edge = Edge(token_issuer_regex="(?P<realm>.+)", token_jwks_public_endpoint=host + "/{{realm}}")
    yield edge
    await edge.fetchers.close()


async def test_subscription_tokens_may_have_an_endpoint_of_their_own(host: str, endpoint: Endpoint) -> None:
    endpoint.body = jwks(SHOP.jwk())
    edge = Edge(token_hmac_secret_key=SECRET, subscription_token_jwks_public_endpoint=host)
    token = SHOP.token(sub="42", channel="news")
    try:
        with pytest.raises(UnknownKey) as unknown:
            edge.verifier.subscription(token, NOW)
        assert edge.fetchers.any and await edge.fetchers.wanted(unknown.value.kid, unknown.value.keys)
        assert edge.verifier.subscription(token, NOW).user == "42"
        assert edge.fetchers.fetches == {"good": 1} and edge.fetchers.age_s == 0
        with pytest.raises(InvalidToken):
            edge.verifier.connection(SHOP.token(sub="42"), NOW)
        assert await edge.fetchers.wanted("x", edge.keys.connection), "there is nowhere to look"
    finally:
        await edge.fetchers.close()


async def test_each_issuer_s_keys_are_read_at_its_own_address(tenants: Edge, endpoint: Endpoint) -> None:
    for by in (SHOP, BANK):
        endpoint.body = jwks(by.jwk())
        assert await tenants.user(by, by.kid) == "42"
    assert [request.split(b" ")[1] for request in endpoint.requests] == [b"/shop", b"/bank"]
    assert await tenants.user(SHOP, "shop") == "42" and len(endpoint.requests) == 2, "it is known now"
    assert tenants.fetchers.fetches == {"good": 2}


async def test_made_up_issuers_are_asked_for_at_a_bounded_rate(tenants: Edge, endpoint: Endpoint) -> None:
    endpoint.status = "404 Not Found"
    for number in range(NEW_TENANTS.amount + 20):
        assert await tenants.user(SHOP, f"made-up-{number}") == ""
    assert len(endpoint.requests) == NEW_TENANTS.amount
    tenants.now += NEW_TENANTS.seconds
    endpoint.status, endpoint.body = "200 OK", jwks(SHOP.jwk())
    assert await tenants.user(SHOP, "shop") == "42"


async def test_of_too_many_issuers_those_without_keys_go_first(
    tenants: Edge, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks_fetchers, "MOST_TENANTS", 2)
    endpoint.body = jwks(SHOP.jwk())
    assert await tenants.user(SHOP, "shop") == "42"
    endpoint.status = "404 Not Found"
    for number in range(5):
        assert await tenants.user(BANK, f"made-up-{number}") == ""
    asked = len(endpoint.requests)
    assert await tenants.user(SHOP, "shop") == "42" and len(endpoint.requests) == asked
    endpoint.status = "200 OK"
    for name in ("a", "b"):  # more issuers with keys than are kept
        assert await tenants.user(SHOP, name) == "42"
    asked = len(endpoint.requests)
    assert await tenants.user(SHOP, "shop") == "42" and len(endpoint.requests) == asked + 1, "read anew"


async def test_the_keys_of_an_issuer_that_were_withdrawn_end(tenants: Edge, endpoint: Endpoint) -> None:
    endpoint.body = jwks(SHOP.jwk())
    assert await tenants.user(SHOP, "shop") == "42"
    endpoint.body = jwks(BANK.jwk())
    await tenants.fetchers.refresh_tenants()
    assert await tenants.user(SHOP, "shop") == "", "it was asked for a moment ago"
    assert await tenants.user(BANK, "shop") == "42"
