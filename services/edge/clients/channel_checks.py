"""What the commands about a channel have in common: the checks of its name, and refusals with a reason for the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proto import codes
from proto.codes import ErrorCode
from services.edge.channels.namespaces import ChannelRules, is_valid_name
from services.edge.clients.actions import Answer, error_reply

if TYPE_CHECKING:
    from services.edge.clients.client import Client

_SHOWN_LENGTH: Final = 80  # of a channel's name, in the log

WHY: Final = {
    codes.UNKNOWN_CHANNEL.code: "its namespace is not configured",
    codes.BAD_REQUEST.code: "its name is too long, or not one that its namespace allows (channel_regex)",
    codes.LIMIT_EXCEEDED.code: "the client has as many channels as it may (client.channel_limit)",
    codes.PERMISSION_DENIED.code: "map subscriptions are not offered",
    codes.NOT_AVAILABLE.code: "shared-poll subscriptions are not offered",
}
"""For the log, what a check of a channel has found."""


def refused(command_id: int, error: ErrorCode, what: str, channel: str, why: str = "") -> Answer:
    """An error reply, and for the log what was refused, where, and why."""
    shown = channel if len(channel) <= _SHOWN_LENGTH else f"{channel[:_SHOWN_LENGTH]}..."
    return Answer(error_reply(command_id, error), f"{what} {shown!r}{f': {why}' if why else ''}")


def rules_of(client: Client, channel: str) -> ChannelRules | ErrorCode:
    """The rules of a channel that the client may speak of, or the error that it gets."""
    if len(channel) > client.policy.section.channel_max_length:
        return codes.BAD_REQUEST
    rules = client.policy.namespaces.rules(channel)
    if isinstance(rules, ChannelRules) and channel not in client.channels and not is_valid_name(channel, rules):
        return codes.BAD_REQUEST
    return rules
