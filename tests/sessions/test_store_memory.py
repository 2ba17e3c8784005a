"""The store in memory, which tests of the projector use, keeps the store's contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.sessions.entries import DeadLetter
from services.sessions.state import State
from services.sessions.store import Store
from tests.contract.session_store import StoreContract
from tests.sessions.stories import WINDOW_MS
from tests.support.store_memory import MemoryStore


class TestMemoryStore(StoreContract):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        yield MemoryStore(WINDOW_MS)

    async def rows(self, store: Store) -> State:
        assert isinstance(store, MemoryStore)
        return store.state

    async def letters(self, store: Store) -> list[DeadLetter]:
        assert isinstance(store, MemoryStore)
        return list(store.letters.values())

    async def archive(self, store: Store) -> dict[tuple[str, int], bytes]:
        assert isinstance(store, MemoryStore)
        return store.archive
