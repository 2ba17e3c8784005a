"""Tokens of stock clients, for connections and for channels: got from the application, refused, expired, refreshed."""

from __future__ import annotations

import itertools

import jwt
import pytest

from tests.support.edges import SECRET, api, in_seconds, start_edge, token
from tests.support.eventually import eventually
from tests.support.stock_clients import KINDS, events_of, receives, sees
from tests.support.stock_errors import CommandFailed, TokensAway, Unauthorized

pytestmark = [pytest.mark.integration, pytest.mark.once]

OTHER_SECRET = "another-secret-that-is-long-enough-as-well"
UNAUTHORIZED = 1  # the SDKs' own code


class Issuer:
    """An application that gives out the tokens of a list, the last one again and again, and counts."""

    def __init__(self, *tokens: str | type[Exception]) -> None:
        self._tokens = itertools.chain(tokens, itertools.repeat(tokens[-1]))
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        given = next(self._tokens)
        if isinstance(given, str):
            return given
        raise given


def channel_token(channel: str, user: str = "alice", **claims: object) -> str:
    return jwt.encode({"sub": user, "channel": channel, **claims}, SECRET, algorithm="HS256")


# --- of connections -------------------------------------------------------------------------------------------------


async def test_a_token_comes_from_the_application_and_an_expired_one_is_replaced(shared_pair, client, x):
    a, b = shared_pair
    issuer = Issuer(token("alice", exp=in_seconds(600)))
    for edge, options, asked in ((a, {}, 1), (b, {"token": token("alice", exp=in_seconds(-10))}, 2)):
        alice = client(edge, get_token=issuer, **options)
        await alice.connect()
        await alice.subscribe(f"chat:{x}")
        assert issuer.asked == asked and not events_of(alice, "disconnected")
    issuer = Issuer(token("alice", exp=in_seconds(-10)), token("alice", exp=in_seconds(-5)), token("alice"))
    alice = client(a, get_token=issuer)
    await alice.connect()
    assert issuer.asked == 3


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, 3501),
        ({"token": "no token"}, 3500),
        ({"token": token("alice", OTHER_SECRET)}, 3500),
        ({"token": token("alice", nbf=in_seconds(86_400))}, UNAUTHORIZED),
        ({"token": token("alice", exp=in_seconds(-10))}, UNAUTHORIZED),
        ({"get_token": Issuer(Unauthorized)}, UNAUTHORIZED),
        ({"token": token("alice", channels=["nope:x"])}, 102),
        ({"token": channel_token("chat:x")}, 3500),
    ],
    ids=["none", "garbage", "forged", "too early", "too late", "denied", "bad channel", "of a channel"],
)
async def test_a_refused_client_is_told_why_and_does_not_try_again(shared_edge, client, options, code):
    alice = client(shared_edge, **options)
    with pytest.raises(CommandFailed):
        await alice.connect()
    await sees(alice, "disconnected")
    ended = events_of(alice, "disconnected")[0]
    assert ended["code"] == code and ended["reason"] and len(events_of(alice, "connecting")) == 1


async def test_anonymous_clients_may_what_they_are_allowed_to(services, nats_server, stock, x):
    edge = await start_edge(
        services, nats_server, "open", FAIRLEAD_CLIENT_ALLOW_ANONYMOUS_CONNECT_WITHOUT_TOKEN="true"
    ).ready()
    for kind in KINDS:
        nobody = stock.of(kind)(edge)
        await nobody.connect()
        with pytest.raises(CommandFailed):
            await nobody.subscribe(f"chat:{x}")
        assert events_of(nobody, "unsubscribed")[0]["code"] == 103
        await nobody.subscribe(f"closed:{x}", token=channel_token(f"closed:{x}", user=""))


# --- of channels ----------------------------------------------------------------------------------------------------


async def test_a_channels_token_lets_in_with_what_it_grants(shared_pair, client, x):
    a, b = shared_pair
    alice = client(a, "alice")
    await alice.connect()
    mine = events_of(alice, "connected")[0]["client_id"]
    channel = f"$closed:{x}"
    good = channel_token(channel, client=mine, data={"for": "alice"}, exp=in_seconds(600))
    issuer = Issuer(channel_token(channel, exp=in_seconds(-10)), good)
    await alice.subscribe(channel, get_token=issuer)
    assert issuer.asked == 2, "the first one was expired (109)"
    assert events_of(alice, "subscribed", channel)[0]["data"] == {"for": "alice"}
    await api(b, "publish", {"channel": channel, "data": 1})
    await receives(alice, channel, [1])
    room = f"room:{x}"
    await alice.subscribe(room, token=channel_token(room, info={"role": "host"}))
    found = (await alice.presence(room))[mine]
    assert found["chan_info"] == {"role": "host"} and not found["conn_info"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"token": "no token"}, 103),
        ({"token": channel_token("closed:x", exp=in_seconds(-10))}, UNAUTHORIZED),
        ({"get_token": Issuer(Unauthorized)}, UNAUTHORIZED),
        ({"get_token": Issuer("")}, UNAUTHORIZED),
    ],
    ids=["garbage", "too late", "denied", "empty"],
)
async def test_a_client_refused_in_a_channel_keeps_its_connection(shared_edge, client, given, code):
    alice = client(shared_edge, "alice")
    await alice.connect()
    with pytest.raises(CommandFailed):
        await alice.subscribe("closed:x", **given)
    assert events_of(alice, "unsubscribed", "closed:x")[0]["code"] == code
    await alice.subscribe("chat:x")
    assert not events_of(alice, "disconnected")


async def test_a_token_of_another_user_ends_the_connection(shared_edge, client):
    alice = client(shared_edge, "alice")
    await alice.connect()
    await alice.subscribe("closed:x", token=channel_token("closed:x", user="bob"), wait=False)
    await sees(alice, "disconnected")
    assert events_of(alice, "disconnected")[0]["code"] == 3500


# --- time -----------------------------------------------------------------------------------------------------------


async def test_connections_and_channels_are_refreshed_before_they_expire(shared_pair, stock, x):
    """All kinds at once, as it takes seconds."""
    await stock.ready()
    clients, issuers = [], []
    for number, kind in enumerate(KINDS):
        channel = f"closed:{x}-{kind}"
        soon, later = in_seconds(2), in_seconds(600)
        issuers += [
            Issuer(token("alice", exp=soon), token("alice", exp=later)),
            Issuer(channel_token(channel, exp=soon), channel_token(channel, exp=later)),
        ]
        alice = stock.of(kind)(shared_pair[number % 2], get_token=issuers[-2])
        await alice.connect()
        await alice.subscribe(channel, get_token=issuers[-1])
        clients.append((alice, channel))
    await eventually(lambda: all(issuer.asked == 2 for issuer in issuers))
    for alice, channel in clients:
        await api(shared_pair[0], "publish", {"channel": channel, "data": "still there"})
        await receives(alice, channel, ["still there"])
        assert len(events_of(alice, "connected")) == 1 == len(events_of(alice, "subscribed"))
        assert not events_of(alice, "error")


async def test_connections_and_subscriptions_not_refreshed_in_time_end_and_return_with_a_new_token(
    services, nats_server, stock, x
):
    """A connection ends with 3005, a subscription with 2501. The token that SDKs come back with is expired (109)."""
    soon_closed = {f"FAIRLEAD_CLIENT_EXPIRED_{of}CLOSE_DELAY": "500ms" for of in ("", "SUB_")}
    edge = await start_edge(services, nats_server, "hasty", **soon_closed).ready()
    await stock.ready()
    channel = f"closed:{x}"
    clients = []
    for kind in KINDS:
        soon, later = in_seconds(2), in_seconds(600)
        issuer = Issuer(token("alice", exp=soon), TokensAway, token("alice", exp=later))
        of_channel = Issuer(
            channel_token(channel, "bob", exp=soon), TokensAway, channel_token(channel, "bob", exp=later)
        )
        alice, bob = stock.of(kind)(edge, get_token=issuer), stock.of(kind)(edge, "bob")
        await alice.connect()
        await bob.connect()
        await bob.subscribe(channel, get_token=of_channel)
        clients.append((alice, bob))
    for alice, bob in clients:
        await sees(alice, "connected", count=2)
        assert [e["code"] for e in events_of(alice, "connecting")] == [0, 3005]
        await sees(bob, "subscribed", count=2)
        assert [e["code"] for e in events_of(bob, "subscribing")] == [0, 2501]
        assert not events_of(alice, "disconnected") and not events_of(bob, "unsubscribed")


async def test_a_client_refreshes_also_after_a_backend_made_its_connection_last_for_ever(shared_pair, stock, x):
    await stock.ready()
    clients = []
    for number, kind in enumerate(KINDS):
        user = f"alice-{x}-{kind}"
        issuer = Issuer(token(user, exp=in_seconds(2)), token(user, exp=in_seconds(600)))
        alice = stock.of(kind)(shared_pair[number % 2], get_token=issuer)
        await alice.connect()
        assert (await api(shared_pair[0], "refresh", {"user": user, "expire_at": 0})).json() == {"result": {}}
        clients.append((alice, issuer))
    await eventually(lambda: all(issuer.asked == 2 for _, issuer in clients))
    for alice, _ in clients:
        await alice.subscribe(f"chat:{x}")
        assert len(events_of(alice, "connected")) == 1 and not events_of(alice, "error")


async def test_a_channel_that_is_refreshed_with_an_expired_token_comes_back_with_the_next_one(shared_pair, stock, x):
    await stock.ready()
    channel, clients = f"closed:{x}", []
    for number, kind in enumerate(KINDS):
        first, expired, next_one = in_seconds(2), in_seconds(-1), in_seconds(600)
        issuer = Issuer(*(channel_token(channel, exp=end) for end in (first, expired, next_one)))
        alice = stock.of(kind)(shared_pair[number % 2], "alice")
        await alice.connect()
        await alice.subscribe(channel, get_token=issuer)
        clients.append(alice)
    for alice in clients:
        await sees(alice, "subscribed", count=2)
        assert [e["code"] for e in events_of(alice, "subscribing")] == [0, 2501]
        assert not events_of(alice, "unsubscribed") and not events_of(alice, "disconnected")
