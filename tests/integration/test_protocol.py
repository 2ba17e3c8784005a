"""The protocol on a real edge, frame by frame: cases that stock SDKs do not try."""

from __future__ import annotations

import pytest

from tests.support.edges import connected, in_seconds, start_edge, token, wire_client

pytestmark = [pytest.mark.integration, pytest.mark.once, pytest.mark.usefixtures("encoding")]


async def test_connect_and_subscribe_in_one_frame_as_the_js_sdk_sends_them(shared_edge, x):
    async with wire_client(shared_edge) as client:
        await client.send(
            {"id": 1, "connect": {"token": token("alice"), "name": "js"}},
            {"id": 2, "subscribe": {"channel": f"chat:{x}", "flag": 1}},
        )
        result = (await client.reply(1))["connect"]
        assert result["client"] and result["version"].startswith("Fairlead ")
        assert (result["ping"], result["pong"]) == (25, True) and "expires" not in result
        subscribed = (await client.reply(2))["subscribe"]
        assert subscribed["recoverable"] and subscribed["positioned"] and subscribed["epoch"]


async def test_own_publications_come_back_with_who_published_them(shared_edge, x):
    async with connected(shared_edge, "alice") as client:
        await client.subscribe(f"chat:{x}")
        await client.send({"id": 9, "publish": {"channel": f"chat:{x}", "data": {"t": "hi", "n": [1, 2.50]}}})
        first, second = await client.message(), await client.message()
        push, reply = (first, second) if "push" in first else (second, first)
        assert reply == {"id": 9, "publish": {}}
        pub = push["push"]["pub"]
        assert pub["data"] == {"t": "hi", "n": [1, 2.5]} and pub["offset"] > 0
        assert pub["info"]["user"] == "alice" and pub["info"]["client"]


async def test_two_subscribers_on_two_edges_get_the_same_in_the_same_order(shared_pair, x):
    a, b = shared_pair
    async with connected(a) as one, connected(b, "bob") as two, connected(b, "carol") as writer:
        for client in (one, two):
            await client.subscribe(f"chat:{x}")
        await writer.subscribe(f"chat:{x}")
        for i in range(50):
            await writer.send({"id": i + 1, "publish": {"channel": f"chat:{x}", "data": i}})
        assert await one.publications(f"chat:{x}", 50) == list(range(50)) == await two.publications(f"chat:{x}", 50)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("this is no JSON", 3501),
        ("", 3501),
        ("\n", 3501),
        ('{"id":1,"connect":{"token":7}}', 3501),
        ('{"id":-1}', 3501),
        ('{"id":1,"subscribe":{"channel":"chat:x"}}', 3501),  # before connect
        ("{}", 3501),  # a pong before connect
        ('{"id":1,"connect":{}}', 3501),  # no token, no anonymous connects
        ('{"id":1,"connect":{"token":"garbage"}}', 3500),
        ("[" * 60000, 3501),
    ],
)
async def test_a_bad_first_frame_ends_the_connection_with_its_code(shared_edge, frame, code):
    async with wire_client(shared_edge, "json") as client:
        await client.socket.send(frame)
        got, reason = await client.closed()
        assert got == code and reason


async def test_a_message_past_the_limit_ends_the_connection_with_1009(shared_edge):
    async with connected(shared_edge) as client:
        await client.socket.send("x" * 65537)
        assert (await client.closed())[0] == 1009


async def test_a_text_frame_that_is_not_utf8_ends_the_connection_with_1007(shared_edge):
    async with connected(shared_edge, encoding="json") as client:
        await client.socket.send(b"\xff\xfe", text=True)
        assert (await client.closed())[0] == 1007


async def test_a_forged_token_is_refused_and_an_expired_one_may_be_renewed(shared_edge, x):
    async with wire_client(shared_edge) as client:
        await client.send({"id": 1, "connect": {"token": token("eve", "another-secret-that-is-long-enough-as-well")}})
        assert await client.closed() == (3500, "invalid token")
    async with wire_client(shared_edge) as client:
        await client.send(
            {"id": 1, "connect": {"token": token("eve", exp=in_seconds(-5))}},
            {"id": 2, "subscribe": {"channel": f"chat:{x}"}},
        )
        assert await client.reply(1) == {"error": {"code": 109, "message": "token expired"}}
        await client.socket.close()


async def test_a_token_may_come_a_few_seconds_early(shared_edge):
    """The clock of the application that signed it may be ahead."""
    async with wire_client(shared_edge) as client:
        await client.connect("alice", nbf=in_seconds(3))
    async with wire_client(shared_edge) as client:
        early = await client.ask(connect={"token": token("alice", nbf=in_seconds(60))})
        assert early["error"]["code"] == 109


async def test_an_expiring_connection_is_told_when_to_refresh_and_can(shared_edge):
    async with wire_client(shared_edge) as client:
        result = await client.connect("alice", exp=in_seconds(100))
        assert result["expires"] and 90 <= result["ttl"] <= 101
        refreshed = (await client.ask(refresh={"token": token("alice", exp=in_seconds(500))}))["refresh"]
        assert refreshed["expires"] and 490 <= refreshed["ttl"] <= 501
        await client.send({"id": 7, "refresh": {"token": token("bob", exp=in_seconds(500))}})
        assert (await client.closed())[0] == 3500


@pytest.mark.parametrize(
    ("channel", "code"),
    [
        ("nope:x", 102),
        ("closed:x", 103),
        ("$chat:x", 103),
        ("chat:" + "x" * 300, 107),
        ("chat:smile-\N{GRINNING FACE}", 107),
        ("chat:line\nbreak", 107),
    ],
)
async def test_subscribing_where_one_must_not_gets_its_error_and_the_connection_goes_on(shared_edge, channel, code):
    async with connected(shared_edge) as client:
        assert (await client.ask(subscribe={"channel": channel}))["error"]["code"] == code
        assert (await client.ask(publish={"channel": channel, "data": 1}))["error"]["code"] == code
        assert "epoch" in await client.subscribe("chat:fine")


@pytest.mark.parametrize("name", ["with space", "a.b.c", "*", ">", "a.*.>", "100%", "..", "%2E", "a/b", "'\"\\"])
async def test_any_printable_channel_name_works_and_is_a_channel_of_its_own(shared_pair, name):
    a, b = shared_pair
    for namespace in ("chat", "live"):
        async with connected(a) as one, connected(b) as two:
            await one.subscribe(f"{namespace}:{name}")
            await one.subscribe(f"{namespace}:other")
            await two.subscribe(f"{namespace}:{name}")
            await one.send({"id": 1, "publish": {"channel": f"{namespace}:{name}", "data": 1}})
            assert await two.publications(f"{namespace}:{name}", 1) == [1]


async def test_subscribing_twice_is_an_error_and_unsubscribing_is_idempotent(shared_edge, x):
    async with connected(shared_edge) as client:
        await client.subscribe(f"chat:{x}")
        assert (await client.ask(subscribe={"channel": f"chat:{x}"}))["error"]["code"] == 105
        for _ in range(2):
            assert await client.ask(unsubscribe={"channel": f"chat:{x}"}) == {"unsubscribe": {}}
        await client.subscribe(f"chat:{x}")


async def test_unsubscribe_and_subscribe_back_to_back_behave(shared_edge, x):
    async with connected(shared_edge) as client, connected(shared_edge, "bob") as writer:
        await writer.subscribe(f"chat:{x}")
        await client.subscribe(f"chat:{x}")
        await client.send(
            {"id": 1, "unsubscribe": {"channel": f"chat:{x}"}},
            {"id": 2, "subscribe": {"channel": f"chat:{x}"}},
            {"id": 3, "unsubscribe": {"channel": f"chat:{x}"}},
            {"id": 4, "subscribe": {"channel": f"chat:{x}"}},
        )
        for number in (1, 2, 3, 4):
            await client.reply(number)
        await writer.send({"id": 1, "publish": {"channel": f"chat:{x}", "data": 1}})
        assert await client.publications(f"chat:{x}", 1) == [1]


async def test_the_129th_channel_is_one_too_many(shared_edge):
    async with connected(shared_edge) as client:
        await client.send(*({"id": i + 1, "subscribe": {"channel": f"live:{i}"}} for i in range(129)))
        replies = [await client.reply(i + 1) for i in range(129)]
        assert all("subscribe" in reply for reply in replies[:128])
        assert replies[128]["error"]["code"] == 106


async def test_history(shared_edge, x):
    async with connected(shared_edge) as client:
        assert (await client.ask(history={"channel": "live:x"}))["error"]["code"] == 108
        assert (await client.ask(history={"channel": f"chat:{x}"}))["error"]["code"] == 103
        empty = (await client.subscribe(f"chat:{x}"))["epoch"]
        nothing = (await client.ask(history={"channel": f"chat:{x}", "limit": 10}))["history"]
        assert nothing["publications"] == [] and nothing["epoch"] == empty
        start = nothing["offset"]
        for i in range(5):
            await client.send({"id": i + 1, "publish": {"channel": f"chat:{x}", "data": i}})
        for _ in range(10):
            await client.message()
        page = (await client.ask(history={"channel": f"chat:{x}", "limit": 2}))["history"]
        assert [p["data"] for p in page["publications"]] == [0, 1] and page["offset"] >= start + 5
        since = {"offset": page["publications"][1]["offset"], "epoch": page["epoch"]}
        rest = (await client.ask(history={"channel": f"chat:{x}", "limit": -1, "since": since}))["history"]
        assert [p["data"] for p in rest["publications"]] == [2, 3, 4]
        for beyond in (2**63 - 1, 2**63, 2**64 - 1):
            since = {"offset": beyond, "epoch": page["epoch"]}
            end = (await client.ask(history={"channel": f"chat:{x}", "limit": 5, "since": since}))["history"]
            assert end == {"publications": [], "epoch": page["epoch"], "offset": page["offset"]}
            newest = (await client.ask(history={"channel": f"chat:{x}", "limit": 1, "since": since, "reverse": True}))[
                "history"
            ]
            assert [p["data"] for p in newest["publications"]] == [4]
        newest = (await client.ask(history={"channel": f"chat:{x}", "limit": 2, "reverse": True}))["history"]
        assert [p["data"] for p in newest["publications"]] == [4, 3]
        top = (await client.ask(history={"channel": f"chat:{x}"}))["history"]
        assert top["publications"] == [] and top["offset"] == page["offset"]


async def test_commands_that_this_edge_does_not_offer_say_so(shared_edge, x):
    async with connected(shared_edge) as client:
        await client.subscribe(f"chat:{x}")
        for request in ({"presence": {"channel": f"chat:{x}"}}, {"presence_stats": {"channel": f"chat:{x}"}}):
            assert (await client.ask(**request))["error"]["code"] == 108
        assert (await client.ask(rpc={"method": "m", "data": {}}))["error"]["code"] == 108
        await client.send({"send": {"data": {}}})
        assert (await client.closed())[0] == 3508


async def test_pings_are_sent_and_a_silent_client_is_let_go(services, nats_server):
    fast = {"FAIRLEAD_CLIENT_PING_INTERVAL": "1s", "FAIRLEAD_CLIENT_PONG_TIMEOUT": "500ms"}
    edge = await start_edge(services, nats_server, "edge-a", **fast).ready()
    async with connected(edge) as answers, connected(edge) as silent:
        for _ in range(3):
            assert await answers.message() == {}
            await answers.send({})
        assert await silent.closed() == (3012, "no pong")
        assert await answers.message() == {}
        await answers.send({}, {})
        assert (await answers.closed())[0] == 3501, "a pong that nobody asked for"


async def test_a_client_that_does_not_connect_is_closed(services, nats_server):
    edge = await start_edge(services, nats_server, "edge-a", FAIRLEAD_CLIENT_STALE_CLOSE_DELAY="500ms").ready()
    async with wire_client(edge) as client:
        assert await client.closed() == (3502, "stale")


async def test_insecure_mode_opens_everything_and_says_so_loudly(services, nats_server):
    edge = await start_edge(services, nats_server, "edge-a", FAIRLEAD_CLIENT_INSECURE="true").ready()
    async with wire_client(edge) as client:
        assert "client" in (await client.ask(connect={}))["connect"]
        await client.subscribe("closed:x")
        await client.send({"id": 1, "publish": {"channel": "closed:x", "data": 1}})
        assert {"push", "publish"} == {key for _ in range(2) for key in (await client.message()) if key != "id"}
    assert "ANYBODY may connect" in edge.log()


async def test_no_payload_and_no_token_is_in_the_log(shared_edge, x):
    secret_token = token("alice", exp=in_seconds(-5))
    async with wire_client(shared_edge) as client:
        await client.ask(connect={"token": secret_token})
    async with connected(shared_edge) as client:
        await client.subscribe(f"chat:{x}")
        await client.socket.send('{"id":1,"publish":{"channel":f"chat:{x}","data":"a very private text"')
        assert (await client.closed())[0] == 3501
    log = shared_edge.log()
    assert secret_token not in log and "very private" not in log and "a-secret-of-the-tests" not in log
