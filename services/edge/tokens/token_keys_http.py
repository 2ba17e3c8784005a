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

from services.edge.tokens.token_keys import BadJwks, Key, KeySet

log = logging.getLogger(__name__)

FETCH_TIMEOUT_S: Final = 3.0
"""For the whole answer: clients wait for it, and give up on a connect after 5 s."""
RETRY_S: Final = 10.0
QUIET_S: Final = 5.0
"""For this long after a read, tokens with unknown keys do not cause another one: anybody can make up a `kid`."""


class Client(Protocol):
    """Reads endpoints (`jwks_endpoint_http`, which is imported late)."""

    async def keys(self, url: str) -> tuple[Sequence[Key], list[str]]:
        """The keys there, and a text for each one that cannot be used. Raises `BadJwks` and errors of the transfer."""

    async def close(self) -> None:
        """Ends its connections."""


class LateClient:
    """Makes the client when it is first needed, off the event loop: its imports take half a second."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._making: asyncio.Task[Client] | None = None

    async def made(self) -> Client:
        """The client; waits until it is made."""
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(_make_client, self._connections))
        return await asyncio.shield(self._making)

    async def close(self) -> None:
        """Ends its connections."""
        if self._making is not None:
            await (await self._making).close()


class JwksFetcher:
    """Fills `keys` from their endpoint. `clock` is any clock in seconds that does not go back.

    `run` keeps the keys fresh, as a task; `wanted` asks for an unknown key; `close` ends all reads. `fetches` counts
    the reads that gave keys ("good") and those that did not ("failed").
    """

    def __init__(self, keys: KeySet, refresh_s: float, clock: Callable[[], float], client: LateClient) -> None:
        self._keys = keys
        self._refresh_s = refresh_s
        self._clock = clock
        self._asked_at = -math.inf
        self._fetching: asyncio.Task[bool] | None = None
        self._client = client
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
            good = await self._read(await self._client.made())
            self.fetches["good" if good else "failed"] += 1
            if good:
                self._fresh_at = self._clock()
            return good
        finally:
            self._fetching = None

    async def _read(self, client: Client) -> bool:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                keys, unusable = await client.keys(self._keys.url)
        except Exception as error:  # not only httpx's: an address with port 99999 ends in an ExceptionGroup
            # The address may hold a password, and an error's text may hold the address.
            why = error if isinstance(error, BadJwks) else type(error).__name__
            log.warning("%s gives no keys, the old ones stay: %s", self._keys.setting, why)
            return False
        if unusable and unusable != self._unusable:
            log.info("%s: some keys are not used: %s", self._keys.setting, "; ".join(unusable[:5]))
        self._unusable = unusable
        if not keys:
            log.warning("%s has no key that tokens can be checked with", self._keys.setting)
        self._keys.replace_fetched(keys)
        return True


def _make_client(connections: int) -> Client:
    from services.edge.tokens.jwks_endpoint_http import JwksClient

    return JwksClient(connections)
