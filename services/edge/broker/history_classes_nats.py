"""The history classes of a running broker. A reload replaces all of them, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from services.chassis.nats.link import NatsAway, NatsRefused
from services.edge.channel_settings import ChannelOptions


class HistoryClasses:
    """Changes `classes`, the dict in which the broker's parts look up the options of each class.

    `ensure` makes the missing streams of a class, and changes limits that differ from its options. `forget` stops
    tending the streams of some classes and leaves them as they are, for calls that still use them for a moment.
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
        """Replaces the classes by these. Returns the classes that are gone. Raises `NatsAway`, `NatsRefused`.

        After an error the previous classes stay, and get their limits back where NATS can be reached. Streams that were
        made until then stay as well: another edge may use them. Streams that are shut are changed before they are
        opened.
        """
        before = dict(self._classes)
        changed = [name for name, options in wanted.items() if not _same_streams(before.get(name), options)]
        # A smaller limit removes entries for good: such changes come last, when no other change was refused.
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
        """A class for which there was no room is tried once more, as the others may have given up theirs."""
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
    """The bytes that NATS reserves for a class."""
    return options.history_max_bytes * (options.replicas or 1)


def _same_streams(before: ChannelOptions | None, after: ChannelOptions) -> bool:
    """Whether the streams of a class need no change."""

    def wanted(options: ChannelOptions) -> tuple[object, ...]:
        size, age_s, meta_s = options.history_size, options.history_ttl, options.history_meta_ttl
        return size, age_s, meta_s, options.history_max_bytes, options.history_when_full, options.replicas

    return before is not None and wanted(before) == wanted(after)
