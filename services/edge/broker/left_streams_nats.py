"""Streams that are left over from namespaces that are no longer configured: NATS still reserves their bytes."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

from proto import subjects
from services.chassis.nats.following import stream_names
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused

log = logging.getLogger(__name__)

_NAMED: Final = 5
"""Namespaces that the warning names."""


async def warn_of_left_streams(link: NatsLink, classes: Collection[str]) -> None:
    """Logs a warning if there are streams of other history classes than these. Does not raise errors of NATS."""
    try:
        names = await stream_names(link, "")
    except (NatsAway, NatsRefused) as error:
        log.debug("cannot look for streams of removed namespaces: %s", error)
        return
    left: dict[str, list[str]] = {}
    for name in sorted(names):
        history_class = subjects.class_of_stream(name)
        if history_class and history_class not in classes:
            left.setdefault(history_class, []).append(name)
    if left:
        shown = [f"{each!a} ({streams[0]}, {len(streams)} in all)" for each, streams in list(left.items())[:_NAMED]]
        more = f" and {len(left) - _NAMED} more namespaces" if len(left) > _NAMED else ""
        log.warning(
            "NATS has streams of namespaces that have no history in this configuration, and sets aside their bytes: "
            "%s%s. If no edge has these namespaces any more, delete their streams, CH_... and IDX_..., each with: nats "
            "stream rm --force NAME",
            ", ".join(shown),
            more,
        )
