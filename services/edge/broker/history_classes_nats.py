"""The history classes of a broker that runs, as a reload replaces them: all of them, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from services.chassis.nats.link import NatsAway, NatsRefused
from services.edge.channel_settings import ChannelOptions


class HistoryClasses:
    """Changes `classes`, in which everybody looks for the options of each class.

    `ensure` makes the streams of a class that are missing, and changes limits that differ from its options. `forget`
    leaves the streams of some classes alone: whoever still uses one, for a moment, finds it as it was.
    """

    def __init__(
        self,
        classes: dict[str, ChannelOptions],
        ensure: Callable[[str], Awaitable[object]],
        forget: Callable[[Collection[str]], None],
    ) -> None:
        self._classes = classes
        self._ensure = ensure
        self._forget = forget

    async def adopt(self, wanted: dict[str, ChannelOptions]) -> Collection[str]:
        """These are the classes from now on. Returns which are gone. Raises `NatsAway`, `NatsRefused`.

        Then the classes from before stay, and have their limits again where NATS can be reached. Streams that were made
        by then stay as well: another edge may use them. Streams that are shut are changed before they are opened.
        """
        before = dict(self._classes)
        changed = [name for name, options in wanted.items() if not _same_streams(before.get(name), options)]
        # A smaller limit removes entries, which nothing brings back: those come when the others were not refused.
        changed.sort(key=lambda name: name in before and _bytes_of(wanted[name]) < _bytes_of(before[name]))
        self._classes.update(wanted)
        tried: list[str] = []
        try:
            await self._change(changed, tried)
        except (NatsAway, NatsRefused):
            self._drop(wanted.keys() - before.keys())
            self._classes.update(before)
            for history_class in dict.fromkeys(tried):
                if history_class in before:
                    with suppress(NatsAway, NatsRefused):
                        await self._ensure(history_class)
            raise
        gone = before.keys() - wanted.keys()
        self._drop(gone)
        return gone

    async def _change(self, classes: Collection[str], tried: list[str]) -> None:
        """One for which there is no room is tried once more, as the others may have given up theirs."""
        without_room = []
        for history_class in classes:
            tried.append(history_class)
            try:
                await self._ensure(history_class)
            except NatsRefused as error:
                if error.cause != "storage":
                    raise
                without_room.append(history_class)
        for history_class in without_room:
            await self._ensure(history_class)

    def _drop(self, gone: Collection[str]) -> None:
        for history_class in gone:
            del self._classes[history_class]
        self._forget(gone)


def _bytes_of(options: ChannelOptions) -> int:
    """What NATS sets aside for a class."""
    return options.history_max_bytes * (options.replicas or 1)


def _same_streams(before: ChannelOptions | None, after: ChannelOptions) -> bool:
    """Whether the streams of a class need no change."""

    def wanted(options: ChannelOptions) -> tuple[object, ...]:
        size, age_s, meta_s = options.history_size, options.history_ttl, options.history_meta_ttl
        return size, age_s, meta_s, options.history_max_bytes, options.history_when_full, options.replicas

    return before is not None and wanted(before) == wanted(after)
