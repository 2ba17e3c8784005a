"""The server API for backends: `POST /api/<method>`, JSON in, `{"result": ...}` or `{"error": ...}` out.

Its shapes are Centrifugo's. HTTP statuses speak only of the request itself: 401 without the key, 405, 400 for a body
that is no JSON object of the method's shape, 413; everything else is 200 with a result or an error in the body.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proto import codes
from proto.codec import payload
from proto.codes import ErrorCode
from proto.messages import NO_DATA, Publication
from services.chassis.api_key import EXPECTED, has_key
from services.edge.broker import BrokerAway, BrokerRefused
from services.edge.cluster import Cluster
from services.edge.namespaces import Namespaces, is_valid_name
from services.edge.node import Node

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 768 * 1024
"""Below NATS's default payload limit of 1 MiB, with room for headers."""
_MAX_CHANNEL_LENGTH: Final = 255
_MAX_KEY_LENGTH: Final = 256

T = TypeVar("T", bound=Struct)


class PublishCall(Struct, frozen=True):
    channel: str
    data: Raw = NO_DATA
    b64data: str = ""
    skip_history: bool = False
    tags: dict[str, str] = {}
    idempotency_key: str = ""
    delta: bool = False
    version: int = 0


class InfoCall(Struct, frozen=True):
    pass


class PublishAnswer(Struct, frozen=True, omit_defaults=True):
    offset: int = 0
    epoch: str = ""


class NodeAnswer(Struct, frozen=True):
    uid: str
    name: str
    version: str
    num_clients: int
    num_users: int
    num_channels: int
    num_subs: int
    uptime: int


class InfoAnswer(Struct, frozen=True):
    nodes: list[NodeAnswer]


class Refused(Exception):
    """The answer is this error."""

    def __init__(self, error: ErrorCode, detail: str = "") -> None:
        super().__init__(f"{error.message}: {detail}" if detail else error.message)
        self.error = error


class ServerApi:
    """See the module. `key` empty: every call is answered 401."""

    def __init__(self, key: str, node: Node, namespaces: Namespaces, cluster: Cluster) -> None:
        self._key = key.encode()
        self._node = node
        self._namespaces = namespaces
        self._cluster = cluster

    def routes(self) -> list[Route]:
        return [
            Route("/api/publish", self._endpoint(PublishCall, self._publish), methods=["POST"]),
            Route("/api/info", self._endpoint(InfoCall, self._info), methods=["POST"]),
            Route("/api/{method}", self._unknown, methods=["POST"]),
        ]

    async def _unknown(self, request: Request) -> Response:
        return _failure(404, f"no method {request.path_params['method']!r}; this version has publish and info")

    def _endpoint(
        self, shape: type[T], method: Callable[[T], Awaitable[Struct]]
    ) -> Callable[[Request], Awaitable[Response]]:
        decode = msgspec.json.Decoder(shape).decode

        async def endpoint(request: Request) -> Response:
            if not has_key(request, self._key):
                return _failure(401, EXPECTED)
            body = await _read_body(request)
            if body is None:
                return _failure(413, f"expected a body of at most {MAX_BODY_BYTES} bytes")
            try:
                call = decode(body or b"{}")
            except (msgspec.DecodeError, RecursionError) as error:
                return _failure(400, str(error))
            try:
                return _json(200, {"result": await method(call)})
            except Refused as refused:
                return _json(200, {"error": {"code": refused.error.code, "message": str(refused)}})

        return endpoint

    async def _publish(self, call: PublishCall) -> PublishAnswer:
        if not 0 < len(call.channel) <= _MAX_CHANNEL_LENGTH:
            raise Refused(codes.BAD_REQUEST, f"expected a channel of 1 to {_MAX_CHANNEL_LENGTH} characters")
        if len(call.idempotency_key) > _MAX_KEY_LENGTH:
            raise Refused(codes.BAD_REQUEST, f"expected an idempotency_key of at most {_MAX_KEY_LENGTH} characters")
        if call.skip_history or call.delta or call.version:
            raise Refused(codes.NOT_AVAILABLE, "skip_history, delta and version are not offered yet")
        rules = self._namespaces.rules(call.channel)
        if isinstance(rules, ErrorCode):
            raise Refused(rules)
        if not is_valid_name(call.channel, rules):
            raise Refused(codes.BAD_REQUEST, "the channel's name is not allowed in its namespace")
        publication = Publication(data=_data_of(call), tags=call.tags or None)
        message_id = ""
        if call.idempotency_key:
            # In base64, so that a key may hold anything; with the channel, since keys are the channel's own.
            message_id = "api." + base64.b64encode(f"{call.channel}\n{call.idempotency_key}".encode()).decode()
        try:
            position = await self._node.publish(call.channel, rules, publication, message_id)
        except BrokerAway:
            raise Refused(codes.INTERNAL) from None
        except BrokerRefused as error:
            log.warning("a publish by the server API was refused: %s", error)
            raise Refused(codes.LIMIT_EXCEEDED) from None
        return PublishAnswer(position.offset, position.epoch) if position is not None else PublishAnswer()

    async def _info(self, call: InfoCall) -> InfoAnswer:
        return InfoAnswer(
            [
                NodeAnswer(
                    uid=beat.instance,
                    name=beat.name,
                    version=beat.version,
                    num_clients=beat.edge.connections,
                    num_users=beat.edge.users,
                    num_channels=beat.edge.channels,
                    num_subs=beat.edge.subscriptions,
                    uptime=int(beat.process.uptime_s),
                )
                for beat in self._cluster.edges()
                if beat.edge is not None
            ]
        )


def _data_of(call: PublishCall) -> Raw:
    data = bytes(call.data)
    if call.b64data:
        try:
            data = base64.b64decode(call.b64data, validate=True)
        except (binascii.Error, ValueError):
            raise Refused(codes.BAD_REQUEST, "b64data is not base64") from None
    if not data:
        raise Refused(codes.BAD_REQUEST, "expected data")
    try:
        return payload(data)
    except ValueError as error:
        raise Refused(codes.BAD_REQUEST, f"data is {error}") from None


async def _read_body(request: Request) -> bytes | None:
    """The body, None when it is too large; reading stops there."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _json(status: int, value: object) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


def _failure(status: int, message: str) -> Response:
    return _json(status, {"error": {"code": status, "message": message}})
