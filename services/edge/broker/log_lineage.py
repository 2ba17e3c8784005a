"""What the metadata of a log's stream says of its past: its earlier epochs, and who has led it. Pure.

An epoch ends when NATS was restarted and no edge was running that could tell that the data is not an older copy. Up to
the end of the epoch the log is as it was; later messages may have been lost. So an earlier epoch stays valid up to the
sequence at which it ended, and a position beyond belongs to what was lost. An epoch that was found to be rolled back is
not valid at all.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from typing import Final, NamedTuple

from services.chassis.nats.streams import EPOCH_KEY, new_epoch

EARLIER_KEY: Final = "fairlead-earlier-epochs"
LEADERS_KEY: Final = "fairlead-leaders"
INDEX_KEY: Final = "fairlead-index"
_REMEMBERED: Final = 32
_LETTERS: Final = string.ascii_letters
_EPOCH_LETTERS: Final = 8


class Lineage(NamedTuple):
    """`earlier`: the epochs before `epoch`, the newest first, each with the sequence up to which it is valid.

    `leaders`: the servers, or leaders of the stream in a cluster, under which this epoch is known to have continued.
    `index_epoch`: the epoch in which the log's index was begun, "" for this one.
    """

    epoch: str
    earlier: tuple[tuple[str, int], ...] = ()
    leaders: tuple[str, ...] = ()
    index_epoch: str = ""

    @staticmethod
    def of(metadata: Mapping[str, str]) -> Lineage:
        """What the metadata of a stream says."""
        pairs = [each.partition(":") for each in metadata.get(EARLIER_KEY, "").split()]
        earlier = tuple((epoch, int(upto)) for epoch, _, upto in pairs if upto.isdecimal())
        leaders = tuple(metadata.get(LEADERS_KEY, "").split())
        return Lineage(metadata.get(EPOCH_KEY, ""), earlier, leaders, metadata.get(INDEX_KEY, ""))

    @property
    def metadata(self) -> dict[str, str]:
        """What to write into the metadata of a stream."""
        return {
            EPOCH_KEY: self.epoch,
            EARLIER_KEY: " ".join(f"{epoch}:{upto}" for epoch, upto in self.earlier),
            LEADERS_KEY: " ".join(self.leaders),
            INDEX_KEY: self.index_epoch,
        }

    @property
    def indexed_since(self) -> str:
        """The epoch in which the log's index was begun."""
        return self.index_epoch or self.epoch

    def led_by(self, leader: str) -> Lineage:
        """The lineage when the epoch continues under another leader."""
        return self._replace(leaders=(leader, *self.leaders)[:_REMEMBERED])

    def ended(self, last: int, leader: str, *, with_index: bool = False) -> Lineage:
        """The lineage of a new epoch that begins after the sequence `last`. Edges that find the same at the same time
        agree on its name.

        `with_index`: the index of the log continues.
        """
        digest = hashlib.sha256(f"{self.epoch} {leader}".encode()).digest()
        name = "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:_EPOCH_LETTERS])
        earlier = [(epoch, min(upto, last)) for epoch, upto in self.earlier]
        index = self.indexed_since if with_index else ""
        return Lineage(name, ((self.epoch, last), *earlier)[:_REMEMBERED], (leader,), index)

    def void(self, leader: str) -> Lineage:
        """The lineage of a log that was rolled back, nobody knows how far: no position of this or an earlier epoch is
        valid."""
        return Lineage(new_epoch(), (), (leader,))

    def continues(self, epoch: str, offset: int) -> bool:
        """Whether a position of an earlier epoch is a position of this log, too."""
        return any(each == epoch and offset <= upto for each, upto in self.earlier)
