"""The members of one channel on the other edges, from those edges' joins, leaves and snapshots. Pure.

Joins and leaves report changes, a snapshot reports the whole state of one edge, and either may overtake the other. So
`expect_snapshot` is called before a snapshot is asked for, and the changes that are heard from then on win over the
snapshot. That is right because an edge's messages arrive in the order in which it sent them.
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from proto.messages import NO_DATA, ClientInfo

MAX_MEMBERS: Final = 100_000
"""Members on all other edges together, about 40 MB. Joins beyond this limit are ignored, and so are their leaves."""


class ExpectedSnapshot:
    """A snapshot that one edge was asked for, and the changes on that edge heard since. Made by `RemoteMembers`."""

    __slots__ = ("changes", "instance")

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.changes: dict[str, ClientInfo | None] = {}  # by client id; None: it left


class RemoteMembers:
    """Members by edge (its instance) and client id, without those of this edge.

    Only track edges known to the cluster: the loss of any other edge would never be reported.
    """

    def __init__(self) -> None:
        self._members: dict[str, dict[str, ClientInfo]] = {}
        self._expected: dict[str, list[ExpectedSnapshot]] = {}
        self._count = 0
        self.untracked = 0  # joins that were ignored, as MAX_MEMBERS were known

    def __len__(self) -> int:
        return self._count

    def joined(self, instance: str, info: ClientInfo) -> bool:
        """A client joined on that edge. True if it is new; a known client id only has its info updated."""
        client = str(info.client)
        self._note(instance, client, info)
        return self._add(instance, client, info)

    def left(self, instance: str, client: str) -> ClientInfo | None:
        """A client left on that edge. Returns its info, None if it was not known."""
        self._note(instance, client, None)
        return self._remove(instance, client)

    def holds(self, instance: str) -> bool:
        """Whether a member on this edge is known."""
        return instance in self._members

    def lost(self, instance: str) -> list[ClientInfo]:
        """The edge is gone: returns the members that it held. Snapshots of it that are still expected are ignored."""
        self._expected.pop(instance, None)
        gone = self._members.pop(instance, {})
        self._count -= len(gone)
        return list(gone.values())

    # --- snapshots ---------------------------------------------------------------------------------------------------

    def expect_snapshot(self, instance: str) -> ExpectedSnapshot:
        """Call this before the edge is asked for a snapshot, and `apply` or `abandon` in the end."""
        expectation = ExpectedSnapshot(instance)
        self._expected.setdefault(instance, []).append(expectation)
        return expectation

    def abandon(self, expectation: ExpectedSnapshot) -> None:
        """The snapshot will not come."""
        self._met(expectation)

    def apply(
        self, expectation: ExpectedSnapshot, members: dict[str, ClientInfo]
    ) -> tuple[list[ClientInfo], list[ClientInfo]]:
        """Applies the snapshot. Returns the members that it adds and those that it removes: `(joined, left)`.

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

    def _met(self, expectation: ExpectedSnapshot) -> bool:
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
    """A copy of `info` that does not keep the whole message that it was decoded from in memory."""
    return ClientInfo(info.user, info.client, _copy(info.conn_info), _copy(info.chan_info))


def _copy(raw: Raw) -> Raw:
    return raw.copy() if raw is not NO_DATA else raw
