"""The namespaces of unit tests: of sessions alone, and of edges in memory, which are insecure unless a test says so."""

from __future__ import annotations

from typing import Any

from services.chassis.process.settings import Duration
from services.edge.channel_settings import ChannelOptions, ChannelSection, Namespace
from services.edge.channels.namespaces import ChannelRules, Namespaces

HOUR = Duration(3600)
HISTORY: dict[str, Any] = {"history_size": 10, "history_ttl": Duration(60)}

_OF_PERMISSIONS = [
    Namespace(name="closed"),
    Namespace(name="open", allow_subscribe_for_client=True, allow_publish_for_client=True),
    Namespace(
        name="all",
        allow_subscribe_for_client=True,
        allow_subscribe_for_anonymous=True,
        allow_publish_for_client=True,
        allow_publish_for_anonymous=True,
    ),
    Namespace(name="talk", allow_subscribe_for_client=True, allow_publish_for_subscriber=True),
    Namespace(name="log", allow_subscribe_for_client=True, force_recovery=True, force_positioning=True, **HISTORY),
    Namespace(name="mayrec", allow_subscribe_for_client=True, allow_recovery=True, allow_positioning=True, **HISTORY),
    Namespace(name="hist", allow_subscribe_for_client=True, allow_history_for_client=True, **HISTORY),
    Namespace(name="members", allow_subscribe_for_client=True, allow_history_for_subscriber=True, **HISTORY),
    Namespace(name="nohist", allow_subscribe_for_client=True, allow_history_for_client=True),
    Namespace(name="word", allow_subscribe_for_client=True, channel_regex=r"\w+"),
    Namespace(name="limited", allow_user_limited_channels=True),
    Namespace(name="tags", allow_subscribe_for_client=True, allow_tags_filter=True),
    Namespace(
        name="seen", allow_subscribe_for_client=True, presence=True, join_leave=True, allow_presence_for_client=True
    ),
    Namespace(
        name="inside",
        allow_subscribe_for_client=True,
        presence=True,
        join_leave=True,
        allow_presence_for_subscriber=True,
    ),
    Namespace(name="counted", allow_subscribe_for_client=True, presence=True),
    Namespace(
        name="public",
        presence=True,
        allow_presence_for_client=True,
        allow_presence_for_anonymous=True,
    ),
    Namespace(name="forced", allow_subscribe_for_client=True, join_leave=True, force_push_join_leave=True),
    Namespace(name="json", allow_publish_for_client=True, publication_data_format="json"),
    Namespace(name="binary", allow_publish_for_client=True, publication_data_format="binary"),
    Namespace(name="object", allow_publish_for_client=True, publication_data_format="json_object"),
    Namespace(name="renewed", subscribe_hook=True, sub_refresh_hook=True, presence=True, hook_timeout=Duration(2)),
    Namespace(name="asked", subscribe_hook=True, publish_hook=True, hook_timeout=Duration(2), **HISTORY),
    Namespace(
        name="both",
        allow_subscribe_for_client=True,
        allow_publish_for_client=True,
        subscribe_hook=True,
        publish_hook=True,
        hook_when_away="allow",
    ),
]
"""Permissions, and options that clients ask for."""

_OF_CHANNELS = [
    Namespace(name="chat", history_size=10, history_ttl=HOUR, force_recovery=True),
    Namespace(name="news", history_size=5000, history_ttl=HOUR, force_recovery=True),
    Namespace(name="live"),
    Namespace(name="lossy", slow_client="drop"),
    Namespace(name="plain", history_size=10, history_ttl=HOUR),
    Namespace(name="lobby", presence=True, join_leave=True),
    Namespace(
        name="room",
        history_size=10,
        history_ttl=HOUR,
        force_recovery=True,
        presence=True,
        join_leave=True,
        force_push_join_leave=True,
    ),
    Namespace(name="state", history_size=10, history_ttl=HOUR, force_recovery=True, force_recovery_mode="cache"),
    Namespace(name="now", history_size=10, history_ttl=HOUR, force_recovery_mode="cache", auto_cache_recover=True),
    Namespace(
        name="diff",
        allow_subscribe_for_client=True,
        history_size=100,
        history_ttl=HOUR,
        force_recovery=True,
        allowed_delta_types=["fossil"],
        allow_tags_filter=True,
    ),
]
"""Publications and members of a channel."""

NAMESPACES = Namespaces(
    ChannelSection(
        without_namespace=ChannelOptions(allow_subscribe_for_client=True),
        namespaces=[*_OF_CHANNELS, *_OF_PERMISSIONS],
    )
)


def rules_of(channel: str) -> ChannelRules:
    return NAMESPACES.rules(channel)
