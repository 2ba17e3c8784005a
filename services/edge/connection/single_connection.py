"""`client.single_connection`: a user's newest connection closes the user's others, on all edges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from proto import codes
from proto.control import DisconnectUser, Selector
from services.chassis.process.log_fields import about
from services.chassis.process.tasks import Tasks
from services.edge.cluster.peers import Peers, PeersAway
from services.edge.connection.refusal_log import RefusalLog

MOST: Final = 4096
"""The most connections that are announced to other edges at the same time."""
TRIES: Final = 5
RETRY_S: Final = 1.0


class Newest(NamedTuple):
    """A connection: its user, its client id, and when it was let in, in Unix milliseconds."""

    user: str
    client: str
    admitted_at: int


class SingleConnection:
    """Announces newest connections to all edges. If that fails, the refusal log says so: older ones may stay open."""

    def __init__(
        self,
        peers: Peers,
        refusals: RefusalLog,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._peers = peers
        self._refusals = refusals
        self._tasks = Tasks()

    def close_others(self, newest: Newest) -> None:
        """Closes the user's connections that were let in earlier. Edges agree on the newer of two that come at once."""
        if len(self._tasks) >= MOST:
            self._give_up(newest, f"{MOST} other connections wait to be announced to the edges")
        else:
            self._tasks.start(self._close_others(newest))

    async def _close_others(self, newest: Newest) -> None:
        user, client, admitted_at = newest
        to = Selector(user, whitelist=[client])
        request = DisconnectUser(to, *codes.CONNECTION_LIMIT, admitted_before=admitted_at, or_client_before=client)
        for tries in range(TRIES):
            try:
                await self._peers.ask_all(request)
                return
            except PeersAway as error:
                if tries == TRIES - 1:
                    self._give_up(newest, str(error))
                    return
            await self._sleep(RETRY_S)

    def _give_up(self, newest: Newest, why: str) -> None:
        fields = about(user=newest.user, client=newest.client)
        self._refusals.write("other connections of a user may be left open", why, fields)

    async def stop(self) -> None:
        """Stops announcing."""
        await self._tasks.stop()
