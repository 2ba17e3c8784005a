"""One client's terms in one channel, and the request to attach it there. Pure."""

from __future__ import annotations

from typing import Final, final

from msgspec import Raw, Struct
from msgspec.structs import replace

from proto.messages import ClientInfo, Publication, StreamPosition
from services.chassis.tracing.span import Span
from services.edge.channels.namespaces import ChannelRules
from services.edge.channels.tags_filter import TagsFilter
from services.edge.grants import Grant, Switch

FOSSIL: Final = "fossil"


class Subscription:
    """What one client was granted in one channel, and how its publications are encoded.

    `positioned`: the client relies on its offset, so it must learn of any loss. `member`: the client as others see it,
    None if the channel has neither presence nor joins and leaves. `chan_info`: the info that the client's publications
    carry. `announced`: the member as other edges know it, None before its join. `has_base`: the client holds the
    channel's previous publication, so that the next one may be sent as a difference. `seen` is the number of the last
    batch of the channel that is done for this client: sent, or skipped. `ask_refresh_at` is when, in the edge's own
    time, the sub_refresh hook is asked again.
    """

    __slots__ = (
        "announced",
        "ask_refresh_at",
        "chan_info",
        "delta",
        "emits_join_leave",
        "expires_at",
        "filter",
        "has_base",
        "member",
        "positioned",
        "pushes_join_leave",
        "recoverable",
        "rules",
        "seen",
        "server_side",
    )

    def __init__(
        self,
        rules: ChannelRules,
        grant: Grant,
        info: ClientInfo,
        *,
        server_side: bool = False,
        recoverable: bool = False,
        positioned: bool = False,
        wants_join_leave: bool = False,
        filter: TagsFilter | None = None,
        delta: bool = False,
    ) -> None:
        options, override = rules.options, grant.override
        self.rules = rules
        self.server_side = server_side
        self.expires_at = grant.expires_at
        self.ask_refresh_at = 0.0
        self.recoverable = recoverable or (
            options.has_history and _switched(override.force_recovery, options.force_recovery)
        )
        self.positioned = (
            positioned
            or self.recoverable
            or (options.has_history and _switched(override.force_positioning, options.force_positioning))
        )
        self.emits_join_leave = _switched(override.join_leave, options.join_leave)
        self.pushes_join_leave = (wants_join_leave and self.emits_join_leave) or _switched(
            override.force_push_join_leave, options.force_push_join_leave
        )
        is_seen = self.emits_join_leave or _switched(override.presence, options.presence)
        self.member = info if is_seen else None
        self.chan_info: Raw = grant.info
        self.announced: ClientInfo | None = None
        self.filter = filter
        self.delta = delta and filter is None
        self.has_base = False
        self.seen = 0

    def extend(self, expires_at: int, chan_info: Raw) -> None:
        """Sets when it expires (Unix seconds, 0: never). An empty `chan_info` leaves the present one."""
        self.expires_at, self.ask_refresh_at = expires_at, 0.0
        if bytes(chan_info):
            self.chan_info = chan_info
            if self.member is not None and bytes(self.member.chan_info) != bytes(chan_info):
                self.member = replace(self.member, chan_info=chan_info)

    def asked_to_refresh(self, again_at: float) -> None:
        """The sub_refresh hook is being asked. Unless it extends the subscription, it is asked again at `again_at`."""
        self.ask_refresh_at = again_at

    def show(self, conn_info: Raw) -> None:
        """From now on, others see this info of the client."""
        member = self.member
        if member is None or member.conn_info is conn_info or bytes(member.conn_info) == bytes(conn_info):
            return
        self.member = replace(member, conn_info=conn_info)

    @property
    def news(self) -> bool:
        """Whether the member has changed since its join, and other edges do not know."""
        return self.announced is not None and self.announced is not self.member

    def delivered(self, has_base: bool) -> None:
        """Sets whether the client holds the channel's newest publication."""
        self.has_base = has_base

    def wants(self, publication: Publication) -> bool:
        """Whether the publication matches the tags filter, if there is one."""
        return self.filter is None or self.filter(publication.tags or {})


@final
class AttachRequest(Struct, frozen=True):
    """A checked subscribe: attach the client to `channel` on these terms.

    `recover` is the position from which the client recovers; `reject_unrecovered` asks for error 112 if that fails.
    With `cache_recover` it gets the newest publication of a cache channel, whatever it has already. `data` goes to the
    client with its reply. `command_id` is 0 for a server-side subscription.
    """

    command_id: int
    channel: str
    subscription: Subscription
    data: Raw
    recover: StreamPosition | None = None
    reject_unrecovered: bool = False
    ttl: int = 0  # seconds until the subscription expires, 0 for never
    trace: Span | None = None  # of the subscribe command, if that is traced
    cache_recover: bool = False


def _switched(switch: Switch | None, otherwise: bool) -> bool:
    return otherwise if switch is None else switch.value
