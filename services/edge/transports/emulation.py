"""`POST /emulation`: commands of clients whose replies go out on an HTTP stream (see `http_streams`).

A load balancer sends the request to any edge. The request names the edge that has the client's stream, and the session
id that only that edge and the client know. The edge that gets the request passes the commands to the named edge, at
most once.
"""

from __future__ import annotations

from typing import Final

from msgspec import DecodeError, Raw, Struct
from starlette.responses import Response
from starlette.types import Send

from proto.codec_protobuf import decode_emulation
from proto.commands import EmulationRequest
from proto.control import Emulate, Unknown
from proto.json_decoder import JsonDecoder
from services.edge.cluster.peers import PeerGone, Peers, PeersAway
from services.edge.connection.context import EdgeContext
from services.edge.connection.door import counted_as
from services.edge.transports.http_endpoint import Endpoint, HttpRequest, Refusal
from services.edge.transports.refused_handshakes import EMULATE

EMULATION_PATH: Final = "/emulation"

_MAX_NODE_LENGTH: Final = (
    64  # the name becomes part of a subject, and NATS disconnects a client whose subject is too long
)


class _JsonRequest(Struct, frozen=True):
    """An `EmulationRequest` in JSON. `data` is a string that holds the commands as a WebSocket frame does."""

    node: str = ""
    session: str = ""
    data: str = ""


_decode_json = JsonDecoder[_JsonRequest](_JsonRequest).decode


def read_emulation(body: bytes, is_binary: bool) -> EmulationRequest:
    """The request in a body of JSON or Protobuf. Raises ValueError for anything else, or if it has no commands."""
    if is_binary:
        request = decode_emulation(body)
    else:
        try:
            given = _decode_json(body)
        except DecodeError as error:
            raise ValueError(str(error)) from None
        request = EmulationRequest(given.node, given.session, Raw(given.data.encode()))
    if not bytes(request.data):
        raise ValueError("no commands")
    return request


class Emulation(Endpoint):
    """The address to which clients on HTTP streams send their commands."""

    action = EMULATE

    def __init__(self, context: EdgeContext, peers: Peers) -> None:
        super().__init__(context, ("POST",), ("http_stream", "sse"))
        self._peers = peers

    async def answer(self, request: HttpRequest, send: Send) -> Response | None:
        if not self.context.admission.started:
            raise Refusal(503, "this edge is starting", {"Retry-After": "1"})
        self.check_door(self.context.door.pass_on(counted_as(request.client), self.context.clock.now()))
        body = await request.body(self.context.policy.section.message_size_limit)
        if body is None:
            return None
        try:
            asked = read_emulation(body, request.is_binary)
        except ValueError as error:
            raise Refusal(400, f"expected an emulation request: {error}") from None
        await self._pass_on(asked)
        return Response(status_code=204, headers=request.cors)

    async def _pass_on(self, asked: EmulationRequest) -> None:
        if not 0 < len(asked.node) <= _MAX_NODE_LENGTH:
            raise Refusal(404, "there is no such edge")
        try:
            answer = await self._peers.ask(asked.node, Emulate(asked.session, bytes(asked.data)))
        except PeerGone:
            raise Refusal(404, "there is no such edge") from None
        except PeersAway:
            raise Refusal(503, "the edge of this session does not answer") from None
        if isinstance(answer, Unknown):
            raise Refusal(404, "there is no such session")
