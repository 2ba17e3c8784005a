"""Keeps the public keys for tokens up to date with a JWKS endpoint: reads it regularly, and when a key is unknown.

While the endpoint is unavailable, or answers with something else, the keys of its last good answer stay valid.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from services.edge.token_settings import TokenSettings, connection_tokens, subscription_tokens
from services.edge.tokens.configured_keys import KeySets
from services.edge.tokens.token_keys import BadJwks, Key, KeySet

log = logging.getLogger(__name__)

FETCH_TIMEOUT_S: Final = 3.0
"""For the whole answer: clients wait for it, and give up on a connect after 5 s."""
RETRY_S: Final = 10.0
QUIET_S: Final = 5.0
"""For so long after a read, tokens with unknown keys do not cause another one: anybody can make up a `kid`."""


class Endpoint(Protocol):
    """Where the keys come from (`jwks_endpoint_http`, which is imported late)."""

    async def keys(self) -> tuple[Sequence[Key], list[str]]:
        """The keys, and a text for each one that cannot be used. Raises `BadJwks` and errors of the transfer."""

    async def close(self) -> None:
        """Ends its connections."""


class JwksFetcher:
    """Fills `keys` from `url`, which `setting` names. `clock` is any clock in seconds that does not go back.

    `run` keeps the keys fresh, as a task; `wanted` asks for an unknown one; `close` ends it all. `fetches` counts the
    reads that gave keys ("good") and those that did not ("failed").
    """

    def __init__(
        self,
        url: str,
        keys: KeySet,
        refresh_s: float,
        clock: Callable[[], float],
        setting: str = "client.token_jwks_public_endpoint",
    ) -> None:
        self._url = url
        self._setting = setting
        self._keys = keys
        self._refresh_s = refresh_s
        self._clock = clock
        self._asked_at = -math.inf
        self._fetching: asyncio.Task[bool] | None = None
        self._endpoint: Endpoint | None = None
        self._closed = False
        self._unusable: list[str] = []
        self._fresh_at = clock()
        self.fetches: Counter[str] = Counter()

    @property
    def age_s(self) -> float:
        """Seconds since the endpoint gave keys, or since the start if it has not yet."""
        return self._clock() - self._fresh_at

    async def run(self) -> None:
        """Reads the endpoint at once and then every `refresh_s`, after a failure sooner. Does not return."""
        while True:
            good = await self.refresh()
            await asyncio.sleep(self._refresh_s if good else min(RETRY_S, self._refresh_s))

    async def close(self) -> None:
        """Cancels a read that is in progress. Nothing is read from now on."""
        self._closed = True
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
        if self._endpoint is not None:
            await self._endpoint.close()

    async def wanted(self, kid: str) -> bool:
        """To be called for a token with an unknown key; verify the token again afterwards.

        False if the endpoint could not be read (it was read less than `QUIET_S` ago, or failed): a key that is still
        unknown may become known later, so the client should try again.
        """
        if self._fetching is None:
            if self._clock() < self._asked_at + QUIET_S:
                return False
            log.info("a token is signed with the unknown key %.64r: reading the JWKS endpoint", kid)
        return await self.refresh()

    async def refresh(self) -> bool:
        """Reads the endpoint and replaces the keys; False if that failed. Calls at the same time share one read."""
        if self._closed:
            return False
        if self._fetching is None:
            self._asked_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch())
        fetching = self._fetching
        await asyncio.wait([fetching])  # a caller that is cancelled does not end it for the others
        return not fetching.cancelled() and fetching.result()

    async def _fetch(self) -> bool:
        try:
            if self._endpoint is None:  # half a second of imports, which the event loop must not wait for
                self._endpoint = await asyncio.to_thread(_open_endpoint, self._url)
            good = await self._read(self._endpoint)
            self.fetches["good" if good else "failed"] += 1
            if good:
                self._fresh_at = self._clock()
            return good
        finally:
            self._fetching = None

    async def _read(self, endpoint: Endpoint) -> bool:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                keys, unusable = await endpoint.keys()
        except Exception as error:  # not only httpx's: an address with port 99999 ends in an ExceptionGroup
            # The address may hold a password, and an error's text may hold the address.
            why = error if isinstance(error, BadJwks) else type(error).__name__
            log.warning("%s gives no keys, the old ones stay: %s", self._setting, why)
            return False
        if unusable and unusable != self._unusable:
            log.info("%s: some keys are not used: %s", self._setting, "; ".join(unusable[:5]))
        self._unusable = unusable
        if not keys:
            log.warning("%s has no key that tokens can be checked with", self._setting)
        self._keys.replace_fetched(keys)
        return True


class JwksFetchers:
    """The endpoints of an edge: that of connection tokens, that of subscription tokens if these have one of their own.

    The methods are those of each.
    """

    def __init__(self, section: TokenSettings, keys: KeySets, clock: Callable[[], float]) -> None:
        self._by_keys: dict[KeySet, JwksFetcher] = {}
        for tokens, key_set in (
            (connection_tokens(section), keys.connection),
            (subscription_tokens(section), keys.subscription),
        ):
            if tokens is not None and tokens.jwks_public_endpoint:
                url, setting = tokens.jwks_public_endpoint, f"client.{tokens.prefix}jwks_public_endpoint"
                self._by_keys[key_set] = JwksFetcher(url, key_set, section.token_jwks_refresh, clock, setting)

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self._by_keys)

    @property
    def fetches(self) -> Counter[str]:
        """The reads of all, by result."""
        return sum((fetcher.fetches for fetcher in self._by_keys.values()), Counter())

    @property
    def age_s(self) -> float:
        """Of the endpoint that has given no keys for the longest time; 0 without one."""
        return max((fetcher.age_s for fetcher in self._by_keys.values()), default=0.0)

    async def run(self) -> None:
        """Keeps all keys fresh. Does not return."""
        await asyncio.gather(*(fetcher.run() for fetcher in self._by_keys.values()))

    async def wanted(self, kid: str, keys: KeySet) -> bool:
        """To be called for a token with an unknown key of `keys`: see `JwksFetcher.wanted`."""
        fetcher = self._by_keys.get(keys)
        return await fetcher.wanted(kid) if fetcher is not None else True

    async def close(self) -> None:
        """Ends all reads."""
        for fetcher in self._by_keys.values():
            await fetcher.close()


def _open_endpoint(url: str) -> Endpoint:
    from services.edge.tokens.jwks_endpoint_http import JwksEndpoint

    return JwksEndpoint(url)
