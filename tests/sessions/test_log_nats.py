"""The room of the session log on NATS's disk, which the histories cannot take."""

from __future__ import annotations

import pytest

from proto import subjects
from proto.events import LOG_DUPLICATE_WINDOW_S, LOG_MAX_AGE_S, LOG_MAX_BYTES
from services.chassis.nats.link import NatsLink
from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.edge.session_log_nats import NatsSessionLog
from services.sessions.log_nats import LogAway, SessionLog
from tests.support.links import linked

pytestmark = pytest.mark.integration
MEGABYTE = 1024**2


async def room_of(link: NatsLink) -> int:
    info = await link.stream_manager().stream_info(subjects.SESSIONS_STREAM)
    return info.config.max_bytes or -1


async def test_nats_sets_aside_room_for_the_session_log_whoever_makes_it(nats_server):
    async with linked(nats_server.url) as link:
        await NatsSessionLog(link, "edge-1", "i1").start()
        assert await room_of(link) == LOG_MAX_BYTES
        await SessionLog(link, LOG_MAX_AGE_S, 200 * MEGABYTE).state()
        assert await room_of(link) == 200 * MEGABYTE
        await NatsSessionLog(link, "edge-2", "i2").start()
        assert await room_of(link) == 200 * MEGABYTE, "an edge leaves to the sessions service what it has set"


async def test_a_session_log_from_before_gets_its_room(nats_server):
    async with linked(nats_server.url) as link:
        config = stream_config(
            subjects.SESSIONS_STREAM, subjects.SESSION_EVENTS_ALL, LOG_MAX_AGE_S, LOG_DUPLICATE_WINDOW_S
        )
        await ensure_stream(link, config)
        assert await room_of(link) == -1
        await SessionLog(link, LOG_MAX_AGE_S, LOG_MAX_BYTES).state()
        assert await room_of(link) == LOG_MAX_BYTES


async def test_where_nats_has_no_room_for_it_the_error_says_what_to_change(nats_server):
    async with linked(nats_server.url) as link:
        with pytest.raises(LogAway, match=r"SESSIONS: .* lower sessions\.log_max_bytes, or raise max_file_store"):
            await SessionLog(link, LOG_MAX_AGE_S, 10**17).state()
