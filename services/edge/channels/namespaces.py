"""Channel names: the lookup of their namespace, the rules for names, and permissions. Pure.

`allow_..._for_client` and `allow_..._for_subscriber` are about clients with a user id. `allow_..._for_anonymous`
extends what they allow to clients without one; by itself it allows nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from proto import codes
from services.edge.broker.broker import ChannelAddress
from services.edge.channel_settings import ChannelOptions, ChannelSection
from services.edge.rejection import Rejected

NAMESPACE_BOUNDARY: Final = ":"
PRIVATE_PREFIX: Final = "$"
"""Channels that need a subscription token. The prefix is not part of the namespace's name."""
USER_BOUNDARY: Final = "#"
"""After the last one in a channel's name comes a list of users, separated by commas: the channel is for these."""
USER_SEPARATOR: Final = ","
WITHOUT_NAMESPACE: Final = "_"
"""The history class of channels without a namespace. Namespace names have two characters or more, so it is free."""

_PRINTABLE_ASCII = re.compile(r"[ -~]+")


@dataclass(frozen=True, slots=True)
class ChannelRules:
    """The rules for one channel: the options of its namespace, and the history class that its log belongs to."""

    options: ChannelOptions
    history_class: str
    name_pattern: re.Pattern[str]

    @property
    def namespace(self) -> str:
        """The name of its namespace, `WITHOUT_NAMESPACE` for none."""
        return self.history_class

    @property
    def has_history(self) -> bool:
        """Whether the channel keeps publications."""
        return self.options.has_history

    def address(self, channel: str) -> ChannelAddress:
        """The broker's address of the channel with this name."""
        return ChannelAddress(channel, self.history_class if self.options.has_history else "")


class Requester(Struct, frozen=True):
    """The client as permission checks see it: `user` "" is anonymous, `insecure` may do everything."""

    user: str
    insecure: bool


class Namespaces:
    """All namespaces of the configuration."""

    def __init__(self, section: ChannelSection) -> None:
        self._share = history_share(section)
        self._default = _rules(section.without_namespace, WITHOUT_NAMESPACE)
        self._by_name = {namespace.name: _rules(namespace, namespace.name) for namespace in section.namespaces}
        everything = (self._default, *self._by_name.values())
        self.with_history = tuple(rules.history_class for rules in everything if rules.has_history)
        """The history classes."""

    def rules(self, channel: str) -> ChannelRules:
        """The rules of a channel. Raises `Rejected` (102) if its namespace is not configured."""
        name, boundary, _ = channel.removeprefix(PRIVATE_PREFIX).partition(NAMESPACE_BOUNDARY)
        if not boundary:
            return self._default
        rules = self._by_name.get(name)
        if rules is None:
            raise Rejected(codes.UNKNOWN_CHANNEL, hint="its namespace is not configured")
        return rules

    def named(self, namespace: str) -> ChannelRules | None:
        """The rules of a namespace's channels (or of `WITHOUT_NAMESPACE`), None if it is not configured."""
        return self._default if namespace == WITHOUT_NAMESPACE else self._by_name.get(namespace)

    def names(self) -> tuple[str, ...]:
        """All namespaces, including `WITHOUT_NAMESPACE`."""
        return (WITHOUT_NAMESPACE, *self._by_name)

    def history_classes(self) -> dict[str, ChannelOptions]:
        """The options of each namespace that keeps history, by history class. Each has its `history_max_bytes`."""
        everything = [self._default, *self._by_name.values()]
        return {
            rules.history_class: replace(
                rules.options, history_max_bytes=rules.options.history_max_bytes or self._share
            )
            for rules in everything
            if rules.has_history
        }


def history_share(section: ChannelSection) -> int:
    """The bytes of each namespace with history that has no `history_max_bytes` of its own; negative if there are too
    few."""
    everything = [each for each in (section.without_namespace, *section.namespaces) if each.has_history]
    sharing = sum(not each.history_max_bytes for each in everything)
    return (section.history_max_bytes - sum(each.history_max_bytes for each in everything)) // max(1, sharing)


def _rules(options: ChannelOptions, history_class: str) -> ChannelRules:
    pattern = re.compile(options.channel_regex) if options.channel_regex else _PRINTABLE_ASCII
    return ChannelRules(options, history_class, pattern)


def check_length(channel: str, max_length: int) -> None:
    """Raises `Rejected` (107) for an empty name, or one of more than `max_length` characters."""
    if not 0 < len(channel) <= max_length:
        raise Rejected(codes.BAD_REQUEST, f"expected a channel of 1 to {max_length} characters")


def check_name(channel: str, rules: ChannelRules) -> None:
    """Raises `Rejected` (107) unless the part after "namespace:" matches the namespace's `channel_regex`."""
    rest = channel.partition(NAMESPACE_BOUNDARY)[2] if NAMESPACE_BOUNDARY in channel else channel
    if rules.name_pattern.fullmatch(rest) is None:
        why = "the channel's name is not allowed in its namespace"
        raise Rejected(codes.BAD_REQUEST, why, hint=f"{why} (channel_regex)")


def personal_channel(user: str, namespace: str) -> str:
    """The channel of one user, to which the server subscribes all of that user's connections.

    With the user "" it is the prefix that all personal channels have.
    """
    prefix = f"{namespace}{NAMESPACE_BOUNDARY}" if namespace else ""
    return f"{prefix}{USER_BOUNDARY}{user}"


def may_subscribe(channel: str, rules: ChannelRules, requester: Requester, personal: str = "") -> bool:
    """Whether a client without a subscription token may subscribe: never to a private channel; to a user-limited one
    only if it names the user.

    `personal` is the prefix of personal channels, "" if there are none. One user id follows it, not a list, since an id
    may contain the separator of a list.
    """
    options = rules.options
    if requester.insecure:
        return True
    if channel.startswith(PRIVATE_PREFIX):
        return False
    if USER_BOUNDARY in channel:
        if personal and channel.startswith(personal):
            users = [channel.removeprefix(personal)]
        else:
            users = channel.rpartition(USER_BOUNDARY)[2].split(USER_SEPARATOR)
        return options.allow_user_limited_channels and bool(requester.user) and requester.user in users
    return _may(requester, options.allow_subscribe_for_client, options.allow_subscribe_for_anonymous)


def may_publish(rules: ChannelRules, requester: Requester, subscribed: bool) -> bool:
    """Whether a client may publish. `subscribed`: whether it is subscribed to the channel."""
    options = rules.options
    allowed = options.allow_publish_for_client or (options.allow_publish_for_subscriber and subscribed)
    return _may(requester, allowed, options.allow_publish_for_anonymous)


def may_read_history(rules: ChannelRules, requester: Requester, subscribed: bool) -> bool:
    """Whether a client may read the history. `subscribed`: whether it is subscribed to the channel."""
    options = rules.options
    allowed = options.allow_history_for_client or (options.allow_history_for_subscriber and subscribed)
    return _may(requester, allowed, options.allow_history_for_anonymous)


def may_read_presence(rules: ChannelRules, requester: Requester, subscribed: bool) -> bool:
    """Whether a client may read the presence. `subscribed`: whether it is subscribed to the channel."""
    options = rules.options
    allowed = options.allow_presence_for_client or (options.allow_presence_for_subscriber and subscribed)
    return _may(requester, allowed, options.allow_presence_for_anonymous)


def _may(requester: Requester, allowed: bool, also_anonymous: bool) -> bool:
    """The one rule: `allowed` holds for clients with a user id, and for anonymous ones if it is extended to them."""
    return requester.insecure or (allowed and (also_anonymous or bool(requester.user)))
