"""Decides what a client may read of a channel: its history, its presence. Does no I/O."""

from __future__ import annotations

from proto import codes
from proto.commands import HistoryRequest
from services.edge.channels.namespaces import may_read_history, may_read_presence
from services.edge.rejection import Rejected
from services.edge.session.actions import ReadHistory, ReadPresence
from services.edge.session.decisions import Close
from services.edge.session.state import SessionState


def history(state: SessionState, command_id: int, request: HistoryRequest) -> ReadHistory | Close:
    """Reads publications of the channel's log, or only its position. Raises `Rejected`."""
    channel = request.channel
    if not channel:
        return Close(codes.BAD_REQUEST_CLOSE, "the history command has no channel")
    rules = state.rules(channel)
    if not rules.has_history:
        raise Rejected(codes.NOT_AVAILABLE, "its namespace keeps no history")
    if not may_read_history(rules, state.requester, channel in state.channels):
        why = "its namespace has no allow_history_for_client, nor _for_subscriber for a client that is subscribed"
        raise Rejected(codes.PERMISSION_DENIED, why)
    if request.reverse and request.since is not None and not request.since.offset:
        raise Rejected(codes.BAD_REQUEST, "nothing is before offset 0")
    cap = state.policy.section.history_max_publication_limit
    limit = cap if request.limit < 0 else min(request.limit, cap)
    return ReadHistory(command_id, channel, rules, limit, request.since, request.reverse)


def presence(state: SessionState, command_id: int, channel: str, *, count_only: bool) -> ReadPresence | Close:
    """Reads the members of a channel, or only their number. Raises `Rejected`."""
    if not channel:
        return Close(codes.BAD_REQUEST_CLOSE, "the presence command has no channel")
    rules = state.rules(channel)
    if not rules.options.presence:
        raise Rejected(codes.NOT_AVAILABLE, "its namespace has no presence")
    if not may_read_presence(rules, state.requester, channel in state.channels):
        why = "its namespace has no allow_presence_for_client, nor _for_subscriber for a client that is subscribed"
        raise Rejected(codes.PERMISSION_DENIED, why)
    return ReadPresence(command_id, channel, count_only)
