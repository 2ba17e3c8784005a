"""The connections of each user on this edge. A set for a user costs 200 bytes, so a single connection goes without."""

from __future__ import annotations

from typing import Generic, TypeVar

C = TypeVar("C")


class Users(Generic[C]):
    """See the module. Anonymous connections have the user ""."""

    __slots__ = ("_by_user",)

    def __init__(self) -> None:
        self._by_user: dict[str, C | set[C]] = {}

    def __len__(self) -> int:
        return len(self._by_user)

    def add(self, user: str, connection: C) -> None:
        known = self._by_user.get(user)
        if known is None:
            self._by_user[user] = connection
        elif isinstance(known, set):
            known.add(connection)
        elif known is not connection:
            self._by_user[user] = {known, connection}

    def remove(self, user: str, connection: C) -> None:
        known = self._by_user.get(user)
        if isinstance(known, set):
            known.discard(connection)
            if len(known) == 1:
                self._by_user[user] = known.pop()
        elif known is connection:
            del self._by_user[user]

    def of(self, user: str) -> list[C]:
        """A copy: what is done to connections may remove them."""
        known = self._by_user.get(user)
        if known is None:
            return []
        return list(known) if isinstance(known, set) else [known]

    def count(self, user: str) -> int:
        known = self._by_user.get(user)
        if known is None:
            return 0
        return len(known) if isinstance(known, set) else 1
