"""What clients may ask for: token buckets for each connection, each user, and each user in a namespace. Pure.

All clients of an edge share one `Allowances`. A connection is named by the client's id, and its user by `account`: the
user's id, or the address of an anonymous client. If neither is known (""), only the connection is limited.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from services.chassis.process.settings import Rate
from services.edge.channel_settings import ChannelOptions, ChannelSection
from services.edge.channels.namespaces import WITHOUT_NAMESPACE, ChannelRules
from services.edge.client_settings import ClientSection
from services.edge.limit_settings import LimitsSection
from services.edge.token_buckets import TokenBuckets

WITHIN: Final = ""
"""Returned instead of the name of a limit, if no limit refuses the command."""


class Floors(NamedTuple):
    """What is allowed at once, whatever the rates: a client that reconnects sends connect and all its subscribes at
    once, and even the largest message must pass."""

    commands: int
    subscribes: int
    bytes: int


def floors(client: ClientSection) -> Floors:
    """The floors under the limits, for clients with these settings."""
    return Floors(client.channel_limit + 1, client.channel_limit, client.message_size_limit)


class _Rates(NamedTuple):
    """The rates of one namespace."""

    publishes: Rate
    published_bytes: Rate
    subscribes: Rate


def _rates(channel: ChannelSection) -> dict[str, _Rates]:
    """The rates of the namespaces that have any."""
    every: dict[str, ChannelOptions] = {WITHOUT_NAMESPACE: channel.without_namespace}
    every |= {each.name: each for each in channel.namespaces}
    found = {
        name: _Rates(each.publish_rate_limit, each.publish_bytes_rate_limit, each.subscribe_rate_limit)
        for name, each in every.items()
    }
    return {name: rates for name, rates in found.items() if any(rates)}


class _NamespaceLimits:
    def __init__(self, rates: _Rates, floor: Floors) -> None:
        self.publishes = TokenBuckets(rates.publishes)
        self.published_bytes = TokenBuckets(rates.published_bytes.at_least(floor.bytes))
        self.subscribes = TokenBuckets(rates.subscribes.at_least(floor.subscribes))


class Allowances:
    """The limits on commands. Each method takes what a command costs, and returns `WITHIN`; or it takes nothing, and
    returns the name of the limit that refuses the command.

    `refused` counts the refused commands by the name of the limit, and goes on from the counter that is given.
    """

    def __init__(
        self,
        limits: LimitsSection,
        client: ClientSection,
        channel: ChannelSection,
        refused: Counter[str] | None = None,
    ) -> None:
        self.refused: Counter[str] = Counter() if refused is None else refused
        floor = floors(client)
        self._made_of = limits, floor, _rates(channel)
        self._commands = TokenBuckets(limits.commands.at_least(floor.commands))
        self._user_commands = TokenBuckets(limits.user_commands.at_least(floor.commands))
        self._publishes = TokenBuckets(limits.publishes)
        self._user_publishes = TokenBuckets(limits.user_publishes)
        self._bytes = TokenBuckets(limits.published_bytes.at_least(floor.bytes))
        self._user_bytes = TokenBuckets(limits.user_published_bytes.at_least(floor.bytes))
        self._subscribes = TokenBuckets(limits.subscribes.at_least(floor.subscribes))
        self._user_subscribes = TokenBuckets(limits.user_subscribes.at_least(floor.subscribes))
        self._namespaces = {name: _NamespaceLimits(rates, floor) for name, rates in _rates(channel).items()}

    def renewed(self, limits: LimitsSection, client: ClientSection, channel: ChannelSection) -> Allowances:
        """The allowances under changed settings, with full buckets; the same object if no limit differs."""
        if (limits, floors(client), _rates(channel)) == self._made_of:
            return self
        return Allowances(limits, client, channel, self.refused)

    def command(self, client: str, account: str, now: float) -> str:
        """A command of any kind."""
        if self._commands.take(client, now):
            return self._refuse("limits.commands")
        if account and self._user_commands.take(account, now):
            self._commands.give_back(client, now)
            return self._refuse("limits.user_commands")
        return WITHIN

    def publish(self, client: str, account: str, rules: ChannelRules, size: int, now: float) -> str:
        """A publish of `size` bytes of data."""
        if self._publishes.take(client, now):
            return self._refuse("limits.publishes")
        if self._bytes.take(client, now, size):
            self._publishes.give_back(client, now)
            return self._refuse("limits.published_bytes")
        if account:
            if self._user_publishes.take(account, now):
                self._give_back_publish(client, "", size, now)
                return self._refuse("limits.user_publishes")
            if self._user_bytes.take(account, now, size):
                self._user_publishes.give_back(account, now)
                self._give_back_publish(client, "", size, now)
                return self._refuse("limits.user_published_bytes")
        if (namespace := self._namespaces.get(rules.history_class)) is not None:
            who = account or client
            if namespace.publishes.take(who, now):
                self._give_back_publish(client, account, size, now)
                return self._refuse("publish_rate_limit")
            if namespace.published_bytes.take(who, now, size):
                namespace.publishes.give_back(who, now)
                self._give_back_publish(client, account, size, now)
                return self._refuse("publish_bytes_rate_limit")
        return WITHIN

    def subscribe(self, client: str, account: str, rules: ChannelRules, now: float) -> str:
        """A subscribe."""
        if self._subscribes.take(client, now):
            return self._refuse("limits.subscribes")
        if account and self._user_subscribes.take(account, now):
            self._subscribes.give_back(client, now)
            return self._refuse("limits.user_subscribes")
        namespace = self._namespaces.get(rules.history_class)
        if namespace is not None and namespace.subscribes.take(account or client, now):
            self._subscribes.give_back(client, now)
            if account:
                self._user_subscribes.give_back(account, now)
            return self._refuse("subscribe_rate_limit")
        return WITHIN

    def _give_back_publish(self, client: str, account: str, size: int, now: float) -> None:
        """Gives back what a publish took from the limits of the connection and, if `account` is given, of the user."""
        self._publishes.give_back(client, now)
        self._bytes.give_back(client, now, size)
        if account:
            self._user_publishes.give_back(account, now)
            self._user_bytes.give_back(account, now, size)

    def _refuse(self, limit: str) -> str:
        self.refused[limit] += 1
        return limit
