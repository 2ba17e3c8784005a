"""All JWKS endpoints of an edge: those of connection tokens, of subscription tokens, and of single issuers."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

from services.chassis.process.settings import Rate
from services.edge.token_buckets import TokenBuckets
from services.edge.token_settings import TokenSettings, connection_tokens, subscription_tokens
from services.edge.tokens.configured_keys import KeySets
from services.edge.tokens.token_keys import KeySet
from services.edge.tokens.token_keys_http import JwksFetcher, LateClient

CONNECTIONS: Final = 8
"""The most documents that are read at the same time."""
MOST_TENANTS: Final = 200
"""Issuers whose keys are kept up to date. If there are more, the keys of one are dropped (`_end_one`), and read again
when they are needed."""
NEW_TENANTS: Final = Rate(50, 10)
"""How often endpoints are read for the first time, as anybody can make up an issuer. Beyond this limit, clients of a
real new issuer are told to try again."""


class JwksFetchers:
    """See `JwksFetcher`. `run` keeps all keys fresh, `wanted` asks for an unknown one, `close` ends all reads."""

    def __init__(self, section: TokenSettings, keys: KeySets, clock: Callable[[], float]) -> None:
        self._refresh_s = section.token_jwks_refresh
        self._clock = clock
        self._client = LateClient(CONNECTIONS)
        self._fixed: dict[KeySet, JwksFetcher] = {}
        self._tenants: OrderedDict[KeySet, JwksFetcher] = OrderedDict()
        self._new = TokenBuckets(NEW_TENANTS)
        self._past: Counter[str] = Counter()
        kinds = ((connection_tokens(section), keys.connection), (subscription_tokens(section), keys.subscription))
        for tokens, key_set in kinds:
            if tokens is not None and tokens.jwks_public_endpoint and not tokens.is_template:
                self._fixed[key_set] = self._fetcher(key_set)

    def _fetcher(self, keys: KeySet) -> JwksFetcher:
        return JwksFetcher(keys, self._refresh_s, self._clock, self._client)

    @property
    def any(self) -> bool:
        """Whether there is any endpoint."""
        return bool(self._fixed or self._tenants)

    @property
    def fetches(self) -> Counter[str]:
        """The reads of all endpoints, by result."""
        every = (*self._fixed.values(), *self._tenants.values())
        return sum((fetcher.fetches for fetcher in every), self._past.copy())

    @property
    def age_s(self) -> float:
        """Seconds since the last keys of the endpoint that has given none for the longest time; 0 without an endpoint.
        Endpoints of single issuers do not count: a tenant may end.
        """
        return max((fetcher.age_s for fetcher in self._fixed.values()), default=0.0)

    async def run(self) -> None:
        """Keeps all keys fresh. Does not return."""
        await asyncio.gather(*(fetcher.run() for fetcher in self._fixed.values()), self._run_tenants())

    async def _run_tenants(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_s)
            await self.refresh_tenants()

    async def refresh_tenants(self) -> None:
        """Reads the endpoints of issuers that have keys, one after the other."""
        for keys, fetcher in tuple(self._tenants.items()):
            if keys.has_fetched:
                await fetcher.refresh()

    async def wanted(self, kid: str, keys: KeySet) -> bool:
        """To be called for a token with an unknown key of `keys`: see `JwksFetcher.wanted`."""
        if not keys.url:
            return True
        fetcher = self._fixed.get(keys) or self._tenants.get(keys)
        if fetcher is None:
            if self._new.take("", self._clock()):
                return False
            fetcher = self._tenants[keys] = self._fetcher(keys)
            if len(self._tenants) > MOST_TENANTS:
                await self._end_one()
        elif keys in self._tenants:
            self._tenants.move_to_end(keys)
        return await fetcher.wanted(kid)

    async def _end_one(self) -> None:
        """Ends the fetcher of one issuer: the oldest without keys, otherwise the oldest. The newest stays."""
        older = tuple(self._tenants)[:-1]
        keys = next((each for each in older if not each.has_fetched), older[0])
        fetcher = self._tenants.pop(keys)
        keys.replace_fetched(())
        await fetcher.close()
        self._past += fetcher.fetches

    async def close(self) -> None:
        """Ends all reads."""
        for fetcher in (*self._fixed.values(), *self._tenants.values()):
            await fetcher.close()
        await self._client.close()
