"""Decides what a client may publish, and how. Does no I/O."""

from __future__ import annotations

import base64
from typing import Final

from msgspec import Raw, Struct
from msgspec.structs import replace

from proto import codes
from proto.codec import optional_payload, payload
from proto.commands import Command, PublishRequest, RPCRequest
from proto.json_decoder import JsonDecoder
from proto.messages import NO_DATA
from services.edge.backend import hook_questions
from services.edge.backend.hook_answers import MAX_KEY_LENGTH
from services.edge.backend.hook_results import Accepted
from services.edge.channel_settings import BINARY
from services.edge.channels.namespaces import ChannelRules, may_publish
from services.edge.rejection import Rejected, check_nesting
from services.edge.session.actions import AskHook, Publish
from services.edge.session.decisions import Close
from services.edge.session.state import SessionState

PUBLISH_RPC: Final = "fairlead.publish"
"""The RPC by which stock SDKs publish with an idempotency key, as their own publish has no field for it."""


class _PublishParameters(Struct, frozen=True):
    channel: str
    idempotency_key: str
    data: Raw = NO_DATA
    b64data: str = ""


_parameters: JsonDecoder[_PublishParameters] = JsonDecoder(_PublishParameters)


def publish(state: SessionState, command: Command, request: PublishRequest, now: float) -> Publish | AskHook | Close:
    """Decides by hook or the namespace's permissions. Raises `Rejected`."""
    channel = request.channel
    if not channel:
        return Close(codes.BAD_REQUEST_CLOSE, "the publish has no channel")
    rules = state.rules(channel)
    if request.type:
        raise Rejected(codes.NOT_AVAILABLE, "map channels are not offered")
    size = memoryview(request.data).nbytes
    if limit := state.policy.allowances.publish(state.id, state.account, rules, size, now):
        raise Rejected(codes.TOO_MANY_REQUESTS, f"the client has reached {limit}")
    options = rules.options
    if options.publish_hook:
        caller, backend, allow = state.caller, options.publish_backend, options.hook_when_away == "allow"
        question = hook_questions.publish_question(caller, channel, bytes(request.data), state.policy.form(backend))
        return AskHook("publish", command, question, caller, options.hook_timeout, allow, backend)
    if not may_publish(rules, state.requester, channel in state.channels):
        why = "its namespace has no allow_publish_for_client, nor _for_subscriber for a client that is subscribed"
        raise Rejected(codes.PERMISSION_DENIED, why)
    return _prepare(state, command, request, rules, request.data, key=request.idempotency_key)


def publish_allowed(state: SessionState, command: Command, request: PublishRequest, result: Accepted) -> Publish:
    """Decides by the result of the publish hook, which may replace the data. Raises `Rejected`."""
    rules = state.rules(request.channel)
    if result.version is not None and not rules.has_history:
        raise Rejected(codes.INTERNAL, "the publish hook's answer has a version, and the channel has no history")
    data = request.data if result.data is None else Raw(result.data)
    publishing = _prepare(state, command, request, rules, data, key=result.key or request.idempotency_key)
    return replace(
        publishing,
        tags=result.tags or None,
        skip_history=result.skip_history,
        key_of_backend=bool(result.key),
        version=result.version,
    )


def _prepare(
    state: SessionState,
    command: Command,
    request: PublishRequest,
    rules: ChannelRules,
    data: Raw,
    key: str = "",
) -> Publish:
    channel, content = request.channel, bytes(data)
    data_format = rules.options.publication_data_format
    if (not content and data_format != BINARY) or len(key) > MAX_KEY_LENGTH:
        raise Rejected(codes.BAD_REQUEST, f"no data, or a key of more than {MAX_KEY_LENGTH} characters")
    if data_format and not _has_format(content, data_format):
        why = f"the data does not match the namespace's publication_data_format, {data_format}"
        raise Rejected(codes.BAD_REQUEST, why)
    subscription = state.channels.get(channel)
    return Publish(
        command_id=command.id,
        channel=channel,
        rules=rules,
        data=data,
        info=state.info(subscription.chan_info) if subscription is not None else state.info(),
        user=state.identity.user,
        key=key,
        as_rpc=command.rpc is not None,
    )


def _has_format(data: bytes, data_format: str) -> bool:
    if data_format == BINARY:
        return True
    try:
        payload(data)
    except ValueError:
        return False
    return data_format == "json" or data.lstrip().startswith(b"{")


def publish_by_rpc(state: SessionState, command: Command, request: RPCRequest, now: float) -> Publish | AskHook | Close:
    """Decides on a publish with an idempotency key, sent as the RPC that every stock SDK has. Raises `Rejected`."""
    try:
        given = _parameters.decode(bytes(request.data))
        data = optional_payload(given.data)
        if given.b64data:
            data = Raw(base64.b64decode(given.b64data, validate=True))
    except ValueError as error:
        raise Rejected(codes.BAD_REQUEST, str(error)) from None
    if not given.channel or not given.idempotency_key:
        raise Rejected(codes.BAD_REQUEST, "expected channel, idempotency_key and data, none of them empty")
    check_nesting(data)
    publishing = PublishRequest(given.channel, data, idempotency_key=given.idempotency_key)
    return publish(state, Command(id=command.id, publish=publishing, rpc=request), publishing, now)
