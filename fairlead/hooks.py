"""The types of the questions to your backend over HTTP, and of its answers, for type checkers.

    from fairlead.hooks import Answer, SubscribeQuestion, SubscribeResult

    def subscribe(question: SubscribeQuestion) -> Answer[SubscribeResult]:
        if question["channel"] == f"chat:{question['user']}":
            return {"result": {}}
        return {"error": {"code": 403, "message": "not yours"}}

They are dictionaries, as json.loads makes them. Nothing is checked at run time: `verify` shows that an edge wrote the
question, but `data`, which clients write, may be anything. docs/hooks.md says what each field means. Fields may be
added.
"""

from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar

T = TypeVar("T")


class _Question(TypedDict):
    client: str
    transport: str
    protocol: Literal["json", "protobuf"]
    encoding: Literal["json", "binary"]
    meta: NotRequired[Any]


class _Payload(TypedDict, total=False):
    data: Any
    """Any JSON that the client sent."""
    b64data: str
    """In place of `data`, if `encoding` is "binary"."""


class ConnectQuestion(_Question, _Payload):
    """A client connects without a token. `user` is present if an authenticating proxy named one."""

    user: NotRequired[str]
    name: NotRequired[str]
    version: NotRequired[str]
    headers: NotRequired[dict[str, str]]
    channels: NotRequired[list[str]]
    address: NotRequired[str]
    user_agent: NotRequired[str]
    origin: NotRequired[str]


class RefreshQuestion(_Question):
    """A connection expires. `user` is "" for an anonymous client, here and below."""

    user: str


class SubscribeQuestion(_Question, _Payload):
    """A client subscribes."""

    user: str
    channel: str


class SubRefreshQuestion(_Question):
    """A subscription expires."""

    user: str
    channel: str


class PublishQuestion(_Question, _Payload):
    """A client publishes."""

    user: str
    channel: str


class RPCQuestion(_Question, _Payload):
    """A client calls `method`, which is left out if it is empty."""

    user: str
    method: NotRequired[str]


class Error(TypedDict):
    """Refuses: the client's command fails with this error."""

    code: int
    message: NotRequired[str]
    temporary: NotRequired[bool]


class Disconnect(TypedDict):
    """Refuses, and closes the connection."""

    code: int
    reason: NotRequired[str]


class Answer(TypedDict, Generic[T], total=False):
    """Has one of the three. Only a connect may be answered with none of them, which means "not known here"."""

    result: T
    error: Error
    disconnect: Disconnect


class Switch(TypedDict):
    value: bool


class Override(TypedDict, total=False):
    """Options of the namespace that are different for one subscription."""

    presence: Switch
    join_leave: Switch
    force_push_join_leave: Switch
    force_recovery: Switch
    force_positioning: Switch


class SubscribeResult(TypedDict, total=False):
    info: Any
    b64info: str
    data: Any
    b64data: str
    expire_at: float
    override: Override
    cache_recover: bool


class ConnectResult(TypedDict, total=False):
    user: str
    expire_at: float
    info: Any
    b64info: str
    data: Any
    b64data: str
    meta: Any
    channels: list[str]
    subs: dict[str, SubscribeResult]
    connection_limit: int


class PublishResult(TypedDict, total=False):
    data: Any
    b64data: str
    skip_history: bool
    tags: dict[str, str]
    idempotency_key: str
    version: int
    version_epoch: str


class RefreshResult(TypedDict, total=False):
    """The result of refresh and sub_refresh; sub_refresh has no `meta`."""

    expired: bool
    expire_at: float
    info: Any
    b64info: str
    meta: Any


class RPCResult(TypedDict, total=False):
    data: Any
    b64data: str
