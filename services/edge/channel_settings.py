"""The section `channel`: the options of channels, by namespace, and the room for their history.

The names of options are Centrifugo's, so that its users know them.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta

from services.chassis.process.settings import REPLICAS, Duration, Rate, Section
from services.chassis.process.settings_errors import FORM
from services.edge.hook_settings import NATS, check_hook

SLOW_CLIENT_POLICIES: Final = ("disconnect", "drop")
DELTA_TYPES: Final = ("fossil",)
BINARY: Final = "binary"
DATA_FORMATS: Final = ("", "json", "json_object", BINARY)
CACHE: Final = "cache"
RECOVERY_MODES: Final = ("stream", CACHE)
WHEN_FULL: Final = ("evict", "refuse")
_NAME: Final = '2 to 64 letters, digits, "-", "_" and "."'


class ChannelOptions(Section, frozen=True):
    """The options of one namespace's channels. Everything is off or forbidden unless it is switched on."""

    history_size: Annotated[int, Meta(ge=0)] = 0
    """Publications kept for each channel. 0: no history, delivery at most once with the lowest latency."""
    history_ttl: Duration = Duration(0)
    """How long a publication is kept. At least 1 s; set together with `history_size`."""
    history_meta_ttl: Duration = Duration(30 * 86_400)
    """How long it is known which publications a channel had, so that a client that missed none can be told so."""
    history_max_bytes: Annotated[int, Meta(ge=0)] = 0
    """Bytes that all channels of the namespace may take, a fifth of them for the index. 0: an equal share of
    `channel.history_max_bytes`."""
    history_when_full: str = "evict"
    """When these bytes are used up: "evict" the namespace's oldest publications, or "refuse" new ones (error 106)."""
    replicas: int = 0
    """How many servers of a NATS cluster have each stream of the namespace: 1, 3 or 5. 0: as `nats.replicas` says."""
    force_positioning: bool = False
    """Every subscription is positioned: its client learns when it may have missed something. Needs history."""
    allow_positioning: bool = False
    """Subscribers that ask for it are positioned. Needs history."""
    force_recovery: bool = False
    """Every subscription is recoverable: a client that reconnects gets what it missed. Needs history."""
    allow_recovery: bool = False
    """Subscriptions that ask for it are recoverable. Needs history."""
    allow_subscribe_for_client: bool = False
    """Clients with a user id may subscribe without a subscription token."""
    allow_subscribe_for_anonymous: bool = False
    """Anonymous clients may subscribe as well, where clients with a user id may."""
    allow_publish_for_client: bool = False
    """Clients with a user id may publish."""
    allow_publish_for_subscriber: bool = False
    """Clients with a user id may publish while they are subscribed to the channel."""
    allow_publish_for_anonymous: bool = False
    """Anonymous clients may publish as well, where clients with a user id may."""
    allow_history_for_client: bool = False
    """Clients with a user id may read history."""
    allow_history_for_subscriber: bool = False
    """Clients with a user id may read history while they are subscribed to the channel."""
    allow_history_for_anonymous: bool = False
    """Anonymous clients may read history as well, where clients with a user id may."""
    presence: bool = False
    """Presence is offered: the members of a channel can be asked for."""
    allow_presence_for_client: bool = False
    """Clients with a user id may ask for presence."""
    allow_presence_for_subscriber: bool = False
    """Clients with a user id may ask for presence while they are subscribed to the channel."""
    allow_presence_for_anonymous: bool = False
    """Anonymous clients may ask for presence as well, where clients with a user id may."""
    join_leave: bool = False
    """Joins and leaves are sent to subscribers that ask for them, and may read presence (`allow_presence_for_...`)."""
    force_push_join_leave: bool = False
    """Joins and leaves are sent to every subscriber. Needs `join_leave`."""
    allow_user_limited_channels: bool = False
    """"ns:rest#7,8" is for the users 7 and 8, who may subscribe without a subscription token."""
    force_recovery_mode: str = "stream"
    """What recovery brings: "stream", everything that was missed; "cache", only the newest publication."""
    auto_cache_recover: bool = False
    """With "cache": every subscribe brings the newest publication, even a client's first one. Needs history."""
    allowed_delta_types: list[str] = []  # noqa: RUF012
    """["fossil"]: subscribers that ask for it get publications as differences to the previous one. Needs history."""
    allow_tags_filter: bool = False
    """Subscribers may filter publications by their tags."""
    publication_data_format: str = ""
    """What clients may publish: "" anything but an empty payload, "binary" even that, "json" only JSON, "json_object"
    only JSON objects."""
    subscribe_hook: bool = False
    """A backend decides about subscribes without a subscription token."""
    subscribe_backend: str = NATS
    """The backend that decides: the name of one of `backends`, or "nats" for whoever subscribes to `hook.subscribe`."""
    publish_hook: bool = False
    """A backend decides about clients' publishes, and may change them."""
    publish_backend: str = NATS
    """The backend that decides: the name of one of `backends`, or "nats" for whoever subscribes to `hook.publish`."""
    sub_refresh_hook: bool = False
    """A backend decides about subscriptions that expire, instead of the client's new token."""
    sub_refresh_backend: str = NATS
    """The backend that decides: the name of one of `backends`, or "nats" for subscribers to `hook.sub_refresh`."""
    hook_timeout: Duration = Duration(1)
    """How long the backend may take for these hooks. Less than 4.5 s."""
    hook_when_away: str = "refuse"
    """What happens when no backend answers: "refuse" (error 100, the client tries again) or "allow"."""
    channel_regex: str = ""
    """What the whole part of a name after "namespace:" must match; empty: printable ASCII."""
    publish_rate_limit: Rate = Rate()
    """Publishes of one user (anonymous: of one address) into all these channels, such as "5/s"; then error 111."""
    publish_bytes_rate_limit: Rate = Rate()
    """Bytes of the data that one user publishes into all these channels; then error 111."""
    subscribe_rate_limit: Rate = Rate()
    """Subscribes of one user to these channels; then error 111."""
    slow_client: str = "disconnect"
    """Without history, for a client that cannot take a publication: "disconnect" it, or "drop" the publication."""

    def __post_init__(self) -> None:
        if (self.history_size > 0) != (self.history_ttl > 0):
            raise ValueError("expected history_size and history_ttl to be both set or both 0")
        if 0 < self.history_ttl < 1:
            raise ValueError("expected history_ttl of at least 1 s")
        if self.history_meta_ttl < self.history_ttl:
            raise ValueError("expected history_meta_ttl to be at least history_ttl")
        needing_history = (self.force_positioning, self.allow_positioning, self.force_recovery, self.allow_recovery)
        if any(needing_history) and not self.has_history:
            raise ValueError(
                "expected history_size and history_ttl, without which nothing can be positioned or recovered"
            )
        if self.history_when_full not in WHEN_FULL:
            raise ValueError('expected history_when_full "evict" or "refuse"')
        if self.replicas not in (0, *REPLICAS):
            raise ValueError("expected replicas 1, 3 or 5, or 0 for nats.replicas")
        if self.slow_client not in SLOW_CLIENT_POLICIES:
            raise ValueError('expected slow_client "disconnect" or "drop"')
        if self.publication_data_format not in DATA_FORMATS:
            raise ValueError('expected publication_data_format "", "binary", "json" or "json_object"')
        if self.force_recovery_mode not in RECOVERY_MODES:
            raise ValueError('expected force_recovery_mode "stream" or "cache"')
        if any(name not in DELTA_TYPES for name in self.allowed_delta_types):
            raise ValueError('expected allowed_delta_types to be [] or ["fossil"]')
        if (self.allowed_delta_types or self.auto_cache_recover) and not self.has_history:
            raise ValueError(
                "expected history_size and history_ttl, which allowed_delta_types and auto_cache_recover need"
            )
        check_hook("", self.hook_timeout, self.hook_when_away)
        try:
            re.compile(self.channel_regex)
        except re.error as error:
            raise ValueError(f"expected channel_regex to be a regular expression: {error}") from None

    @property
    def has_history(self) -> bool:
        """Whether the channels keep publications."""
        return self.history_size > 0 and self.history_ttl > 0


class Namespace(ChannelOptions, frozen=True, kw_only=True):
    """One namespace: its name, and the options of its channels."""

    name: Annotated[str, Meta(pattern=r"^[-a-zA-Z0-9_.]{2,64}\Z", extra={FORM: _NAME})]
    """The part of a channel's name before ":": 2 to 64 letters, digits, "-", "_" and "."."""


class ChannelSection(Section, frozen=True):
    """Channels: their namespaces, and how their history is spread over streams."""

    without_namespace: ChannelOptions = ChannelOptions()
    """Options of channels whose name has no ":"."""
    namespaces: list[Namespace] = []  # noqa: RUF012
    """The namespaces. A channel of any other one is refused with error 102."""
    history_partitions: Annotated[int, Meta(ge=1, le=256)] = 16
    """Streams over which the channels of a namespace are spread. The number is fixed once the streams exist."""
    history_max_bytes: Annotated[int, Meta(ge=1)] = 4 * 1024**3
    """Bytes that the histories of all namespaces may take on NATS's disk, a fifth of them for their indexes."""

    def __post_init__(self) -> None:
        names = [namespace.name for namespace in self.namespaces]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f'expected each namespace once, "{twice[0]}" appears twice')
