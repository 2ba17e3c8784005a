"""The requests that edges send each other on `ctl.edge.<instance>`, and their answers. JSON, internal to one cluster.

Every request is answered; an edge of an older version answers `Unknown` to a request that it does not know. Only the
edge that holds a connection knows about it, so a question about a channel or user is sent to all edges, see
`services.edge.cluster.peers`.
"""

from __future__ import annotations

from msgspec import Raw, Struct, json

from proto.json_decoder import JsonDecoder
from proto.messages import NO_DATA, ClientInfo


class Request(Struct, frozen=True, omit_defaults=True, tag_field="ask"):
    """Base of all requests."""


class Probe(Request, frozen=True, tag="probe"):
    """Are you there? Answered `Done`."""


class Members(Request, frozen=True, tag="members"):
    """Who is subscribed to `channel` on that edge? Answered `MembersFound`."""

    channel: str


class CountMembers(Request, frozen=True, tag="count_members"):
    """How many clients are subscribed to `channel` on that edge? Answered `MembersCounted`."""

    channel: str


class ActiveChannels(Request, frozen=True, tag="active_channels"):
    """Which channels have subscribers on that edge? `pattern` is a glob, "" for all. Answered `ChannelsFound`."""

    pattern: str = ""


class Selector(Struct, frozen=True, omit_defaults=True):
    """Connections of one user: all of them, or those of one client id or session id; never those in `whitelist`."""

    user: str
    client: str = ""
    session: str = ""
    whitelist: list[str] = []


class SubscribeUser(Request, frozen=True, tag="subscribe_user"):
    """Adds a server-side subscription to connections of a user. `grant` is a `services.edge.grants.Grant` in JSON."""

    to: Selector
    channel: str
    grant: Raw = NO_DATA
    recover_offset: int = 0
    recover_epoch: str = ""
    recover: bool = False


class UnsubscribeUser(Request, frozen=True, tag="unsubscribe_user"):
    """Ends a subscription of a user's connections; with channel "", all of their subscriptions."""

    to: Selector
    channel: str = ""
    code: int = 2000
    reason: str = "server unsubscribe"


class DisconnectUser(Request, frozen=True, tag="disconnect_user"):
    """Closes connections of a user. With `admitted_before`, in Unix milliseconds, only connections that were admitted
    before that moment, or at that moment with a client id below `or_client_before`.
    """

    to: Selector
    code: int
    reason: str
    admitted_before: int = 0
    or_client_before: str = ""


class RefreshUser(Request, frozen=True, tag="refresh_user"):
    """Changes when a user's connections expire: now (`expired`), at `expire_at` (Unix seconds), or never (0)."""

    to: Selector
    expired: bool = False
    expire_at: int = 0
    info: Raw = NO_DATA


class SendUser(Request, frozen=True, tag="send_user"):
    """Sends a user's connections a message that belongs to no channel."""

    to: Selector
    data: Raw


class Emulate(Request, frozen=True, tag="emulate"):
    """Commands of a client whose HTTP stream is on that edge. `data` is a frame in the stream's encoding (base64 in
    JSON).

    Answered `Done`, or `Unknown` if no stream has this session.
    """

    session: str
    data: bytes


ControlRequest = (
    Probe
    | Members
    | CountMembers
    | ActiveChannels
    | SubscribeUser
    | UnsubscribeUser
    | DisconnectUser
    | RefreshUser
    | SendUser
    | Emulate
)


class Answer(Struct, frozen=True, omit_defaults=True, tag_field="answer"):
    """Base of all answers."""


class Done(Answer, frozen=True, tag="done"):
    """The request was carried out, for `count` connections."""

    count: int = 0


class Unknown(Answer, frozen=True, tag="unknown"):
    """The edge has no such thing, or its version does not know the request."""


class MembersFound(Answer, frozen=True, tag="members"):
    """Members of the channel by client id."""

    members: dict[str, ClientInfo] = {}


class MembersCounted(Answer, frozen=True, tag="counted"):
    """The number of members of the channel, and their distinct user ids."""

    clients: int = 0
    users: list[str] = []


class ChannelsFound(Answer, frozen=True, tag="channels"):
    """Channels with their number of subscribers."""

    channels: dict[str, int] = {}


ControlAnswer = Done | Unknown | MembersFound | MembersCounted | ChannelsFound

encode_request = json.Encoder().encode
encode_answer = json.Encoder().encode
_requests: JsonDecoder[ControlRequest] = JsonDecoder(ControlRequest)
_answers: JsonDecoder[ControlAnswer] = JsonDecoder(ControlAnswer)


def decode_request(data: bytes) -> ControlRequest:
    """The request in a message. Raises msgspec.DecodeError for anything else."""
    return _requests.decode(data)


def decode_answer(data: bytes) -> ControlAnswer:
    """The answer in a message. Raises msgspec.DecodeError for anything else."""
    return _answers.decode(data)
