"""What a client may publish, and how. Decides, and does no I/O; see `client.Client`, whose commands these are."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw, Struct

from proto import codes
from proto.codec import payload
from proto.codes import ErrorCode
from proto.commands import Command, PublishRequest, RPCRequest
from proto.messages import NO_DATA
from services.edge.backend import hook_questions, hook_results
from services.edge.channels.namespaces import may_publish
from services.edge.clients.actions import Action, AskHook, Close, Publish
from services.edge.clients.channel_checks import WHY, refused, rules_of

if TYPE_CHECKING:
    from services.edge.clients.client import Client

PUBLISH_RPC: Final = "fairlead.publish"
"""The RPC that stock SDKs publish with an idempotency key by, as their own publish has no field for it."""

MAX_KEY_LENGTH: Final = 256


def publish(client: Client, command: Command, request: PublishRequest) -> Action:
    channel = request.channel
    if not channel:
        return Close(codes.BAD_REQUEST_CLOSE, "a publish without a channel")
    rules = rules_of(client, channel)
    if isinstance(rules, ErrorCode):
        return refused(command.id, rules, "publish to", channel, WHY.get(rules.code, ""))
    if request.type:
        return refused(command.id, codes.NOT_AVAILABLE, "publish to", channel, "map channels are not offered")
    options = rules.options
    if options.publish_hook:
        question = hook_questions.publish_question(client.caller, channel, bytes(request.data))
        return AskHook("publish", command, question, options.hook_timeout, options.hook_when_away == "allow")
    if not may_publish(rules, client.requester, channel in client.channels):
        why = "its namespace has no allow_publish_for_client, nor _for_subscriber for a client that is subscribed"
        return refused(command.id, codes.PERMISSION_DENIED, "publish to", channel, why)
    return publish_allowed(client, command, request, hook_results.Accepted())


def publish_allowed(
    client: Client, command: Command, request: PublishRequest, verdict: hook_results.Accepted
) -> Action:
    """By permission or hook; a hook may have changed what is published."""
    command_id = command.id
    rules = rules_of(client, request.channel)
    if isinstance(rules, ErrorCode):
        return refused(command_id, rules, "publish to", request.channel, WHY.get(rules.code, ""))
    data = request.data if verdict.data is None else Raw(verdict.data)
    if not bytes(data) or len(request.idempotency_key) > MAX_KEY_LENGTH:
        why = f"it has no data, or a key of more than {MAX_KEY_LENGTH} characters"
        return refused(command_id, codes.BAD_REQUEST, "publish to", request.channel, why)
    if not _fits(bytes(data), rules.options.publication_data_format):
        why = f"its data is not of the namespace's publication_data_format, {rules.options.publication_data_format}"
        return refused(command_id, codes.BAD_REQUEST, "publish to", request.channel, why)
    subscription = client.channels.get(request.channel)
    return Publish(
        command_id=command_id,
        channel=request.channel,
        rules=rules,
        data=data,
        info=client.info(subscription.chan_info) if subscription is not None else client.info(),
        tags=verdict.tags or None,
        skip_history=verdict.skip_history,
        key=request.idempotency_key,
        as_rpc=command.rpc is not None,
    )


def _fits(data: bytes, format: str) -> bool:
    if not format:
        return True
    try:
        payload(data)
    except ValueError:
        return False
    return format == "json" or data.lstrip().startswith(b"{")


class _PublishParameters(Struct, frozen=True):
    channel: str
    idempotency_key: str
    data: Raw = NO_DATA
    b64data: str = ""


_decode_parameters = msgspec.json.Decoder(_PublishParameters).decode


def publish_by_rpc(client: Client, command: Command, request: RPCRequest) -> Action:
    """A publish with an idempotency key, by the call that every stock SDK has."""
    try:
        given = _decode_parameters(bytes(request.data))
        data = payload(bytes(given.data)) if bytes(given.data) else NO_DATA
        if given.b64data:
            data = Raw(base64.b64decode(given.b64data, validate=True))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, binascii.Error) as error:
        return refused(command.id, codes.BAD_REQUEST, "RPC", PUBLISH_RPC, str(error))
    if not given.channel or not given.idempotency_key:
        why = "expected channel, idempotency_key and data, none of them empty"
        return refused(command.id, codes.BAD_REQUEST, "RPC", PUBLISH_RPC, why)
    publish_request = PublishRequest(given.channel, data, idempotency_key=given.idempotency_key)
    return publish(client, Command(id=command.id, publish=publish_request, rpc=request), publish_request)
