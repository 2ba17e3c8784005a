"""Who is subscribed to one channel on the other edges, as their joins, leaves and snapshots say. Pure.

Joins and leaves tell what changes, a snapshot tells what stands, and the two overtake each other: whoever fetches a
snapshot says so with `expecting` before it asks, and what was heard since then wins over the snapshot. That holds
because an edge's messages arrive in the order in which it sent them.
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from proto.messages import NO_DATA, ClientInfo

MAX_MEMBERS: Final = 100_000
"""On all other edges together, some 40 MB. Who comes when it is full is not tracked: neither its join nor its leave is
news then."""


class Expectation:
    """A snapshot of one edge that is under way, and what was heard of that edge meanwhile. Made by `RemoteMembers`."""

    __slots__ = ("changes", "instance")

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.changes: dict[str, ClientInfo | None] = {}  # by client id; None: it left


class RemoteMembers:
    """Members by edge and client id. An edge is named by its instance; this edge's own members are not in here.

    Only edges that the cluster knows may be named: of another nobody would say that it is gone.
    """

    def __init__(self) -> None:
        self._members: dict[str, dict[str, ClientInfo]] = {}
        self._expected: dict[str, list[Expectation]] = {}
        self._count = 0
        self.untracked = 0  # joins that were ignored, since MAX_MEMBERS were known

    def __len__(self) -> int:
        return self._count

    def joined(self, instance: str, info: ClientInfo) -> bool:
        """A client joined there. Whether it is news: again the same client id only updates what is told of it."""
        client = str(info.client)
        self._note(instance, client, info)
        return self._add(instance, client, info)

    def left(self, instance: str, client: str) -> ClientInfo | None:
        """A client left there. What was known of it, None when that is no news."""
        self._note(instance, client, None)
        return self._remove(instance, client)

    def holds(self, instance: str) -> bool:
        """Whether there is a member of this edge."""
        return instance in self._members

    def lost(self, instance: str) -> list[ClientInfo]:
        """The edge is gone, and with it all these. Snapshots of it that are still under way count no more."""
        self._expected.pop(instance, None)
        gone = self._members.pop(instance, {})
        self._count -= len(gone)
        return list(gone.values())

    # --- snapshots ---------------------------------------------------------------------------------------------------

    def expecting(self, instance: str) -> Expectation:
        """To be called before the edge is asked; `replace` or `give_up` ends it."""
        expectation = Expectation(instance)
        self._expected.setdefault(instance, []).append(expectation)
        return expectation

    def give_up(self, expectation: Expectation) -> None:
        """There will be no snapshot."""
        self._met(expectation)

    def replace(
        self, expectation: Expectation, members: dict[str, ClientInfo]
    ) -> tuple[list[ClientInfo], list[ClientInfo]]:
        """The snapshot is there. Returns who is news by it, and who turns out to have left: `(joined, left)`.

        A snapshot of an edge that was lost meanwhile changes nothing.
        """
        if not self._met(expectation):
            return [], []
        instance, changes = expectation.instance, expectation.changes
        known = self._members.get(instance, {})
        gone = [client for client in known if client not in members and changes.get(client) is None]
        left = [info for client in gone if (info := self._remove(instance, client)) is not None]
        joined = [
            info
            for client, info in members.items()
            if client not in changes and self._add(instance, client, info)  # else the change is applied already
        ]
        return joined, left

    def _met(self, expectation: Expectation) -> bool:
        open_ones = self._expected.get(expectation.instance, [])
        if expectation not in open_ones:
            return False
        open_ones.remove(expectation)
        if not open_ones:
            del self._expected[expectation.instance]
        return True

    def _note(self, instance: str, client: str, info: ClientInfo | None) -> None:
        for expectation in self._expected.get(instance, ()):
            if client in expectation.changes or len(expectation.changes) < MAX_MEMBERS:
                expectation.changes[client] = info

    # --- members -----------------------------------------------------------------------------------------------------

    def _add(self, instance: str, client: str, info: ClientInfo) -> bool:
        known = client in self._members.get(instance, {})
        if not known and self._count >= MAX_MEMBERS:
            self.untracked += 1
            return False
        self._members.setdefault(instance, {})[client] = _own(info)
        self._count += not known
        return not known

    def _remove(self, instance: str, client: str) -> ClientInfo | None:
        members = self._members.get(instance, {})
        info = members.pop(client, None)
        if info is not None:
            self._count -= 1
            if not members:
                del self._members[instance]
        return info


def _own(info: ClientInfo) -> ClientInfo:
    """A copy of `info` that does not hold the whole message that it was decoded from."""
    return ClientInfo(info.user, info.client, _copy(info.conn_info), _copy(info.chan_info))


def _copy(raw: Raw) -> Raw:
    return raw.copy() if raw is not NO_DATA else raw
