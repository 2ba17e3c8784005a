"""Erasure: removes the facts about a user from all models. Later facts about the time before it are not folded.

Counts without names stay as they are: how many connections ended with a code says nothing about anybody.
"""

from __future__ import annotations

from proto.events import user_digest
from services.sessions.models import channels, edges
from services.sessions.state import State
from services.sessions.values import identity


def is_erased(state: State, user: str, at: int) -> bool:
    """Whether a fact about `user` that happened at `at` is one of those that were erased."""
    return bool(user) and at <= state.erasures.get(user_digest(identity(user)), -1)


def erase(state: State, digest: str, at: int) -> None:
    """Removes everything that the log said about the user so far: their sessions with everything that belongs to them,
    their devices, and their refusals, including those that name only the connection."""
    state.put_erasure(digest, at)
    known: dict[str, bool] = {"": False}

    def is_of_the_user(user: str) -> bool:
        found = known.get(user)
        if found is None:
            found = known[user] = user_digest(user) == digest
        return found

    gone = [one for one in state.sessions.values() if is_of_the_user(one.user)]
    for session in gone:
        for name in state.connections_of(session.id):
            connection = state.connections[name]
            if connection.closed_at is None:
                channels.closed(state, connection, at)
                edges.row_of(state, connection.instance, connection.edge, at).ended += 1
    state.remove(gone)
    state.timeline = {key: row for key, row in state.timeline.items() if key[0] not in state.removed_connections}
    state.users = {key: row for key, row in state.users.items() if not is_of_the_user(key[0])}
    gone_with = state.removed_connections
    state.refusals = [
        row for row in state.refusals if not is_of_the_user(row.user) and (row.user or row.connection not in gone_with)
    ]
