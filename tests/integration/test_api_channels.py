"""The server API's methods on channels, seen by real subscribers on the other edge."""

from __future__ import annotations

import base64

import pytest

from tests.support.edges import API_KEY, api, connected, wire_client
from tests.support.eventually import eventually
from tests.support.plain_http import http_client

pytestmark = [pytest.mark.integration, pytest.mark.once]


async def result(edge, method, **call):
    """The result of a call that succeeds."""
    answer = (await api(edge, method, call)).json()
    assert "result" in answer, answer
    return answer["result"]


async def error(edge, method, **call):
    """The code of a call that fails."""
    answer = await api(edge, method, call)
    assert answer.status_code == 200
    return answer.json()["error"]["code"]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- publish --------------------------------------------------------------------------------------------------------


async def test_a_publication_that_skips_the_history_reaches_subscribers_and_is_not_kept(shared_pair, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    async with connected(b) as reader:
        await reader.subscribe(channel)
        assert await result(a, "publish", channel=channel, data=1, skip_history=True) == {}
        assert (await reader.push(channel))["pub"] == {"data": 1}
        # Of a channel that never had a publication, any offset that its stream has reached is the top.
        for edge in (a, b):
            kept = await result(edge, "history", channel=channel, limit=-1)
            assert kept["publications"] == []
        await reader.ask(unsubscribe={"channel": channel})
        recovered = await reader.subscribe(channel, recover=True, epoch=kept["epoch"], offset=kept["offset"])
        assert recovered["recovered"] and not recovered.get("publications")


async def test_a_publication_that_skips_the_history_is_published_once_for_its_key(shared_pair, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    async with connected(b) as reader:
        await reader.subscribe(channel)
        for edge, data in ((a, 1), (b, "the same again")):
            await result(edge, "publish", channel=channel, data=data, skip_history=True, idempotency_key="k")
        await result(a, "publish", channel=channel, data=2, skip_history=True)
        assert await reader.publications(channel, 2) == [1, 2]


async def test_bytes_in_base64_reach_a_protobuf_client_as_they_are_and_win_over_data(shared_pair, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    data = b"\x00\xff\r\n\x80"
    await result(a, "publish", channel=channel, data="not this", b64data=encoded(data))
    kept = (await result(b, "history", channel=channel, limit=1))["publications"]
    assert kept == [{"data": None, "b64data": encoded(data), "offset": kept[0]["offset"]}]
    async with connected(b) as reader:
        await reader.subscribe(channel)
        await result(a, "publish", channel=channel, b64data=encoded(b'{"json": true}'))
        assert (await reader.push(channel))["pub"]["data"] == {"json": True}
        await result(a, "publish", channel=channel, b64data=encoded(data))
        await result(a, "publish", channel=channel, data="next")
        assert await reader.publications(channel, 1) == ["next"]


async def test_a_version_that_is_not_newer_is_left_out(shared_pair, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    async with connected(b) as reader:
        await reader.subscribe(channel)
        first = await result(a, "publish", channel=channel, data="v2", version=2, version_epoch="a b")
        assert await result(b, "publish", channel=channel, data="v1", version=1, version_epoch="a b") == first
        assert await result(b, "publish", channel=channel, data="v2 again", version=2, version_epoch="a b") == first
        await result(b, "publish", channel=channel, data="v3", version=3, version_epoch="a b")
        await result(a, "publish", channel=channel, data="v1 anew", version=1, version_epoch="c")
        assert await reader.publications(channel, 3) == ["v2", "v3", "v1 anew"]


async def test_an_idempotency_key_counts_in_channels_without_history_too(shared_pair, x):
    a, b = shared_pair
    async with connected(b) as reader:
        await reader.subscribe(f"live:{x}")
        for edge, data in ((a, 1), (b, "the same again"), (a, "and again")):
            await result(edge, "publish", channel=f"live:{x}", data=data, idempotency_key="order 7")
        await result(a, "publish", channel=f"live:{x}", data=2, idempotency_key="order 8")
        assert await reader.publications(f"live:{x}", 2) == [1, 2]


async def test_subscribers_with_deltas_get_them_whether_or_not_the_call_says_so(shared_pair, x):
    a, b = shared_pair
    channel = f"diff:{x}"
    async with connected(b) as reader:
        await reader.subscribe(channel, delta="fossil")
        long = {"text": "the same " * 50}
        for number in range(2):
            await result(a, "publish", channel=channel, data={**long, "n": number}, delta=True)
        whole, difference = (await reader.push(channel))["pub"], (await reader.push(channel))["pub"]
        assert "delta" not in whole and difference["delta"] is True


async def test_a_broadcast_answers_for_each_channel_in_order(shared_pair, x):
    a, b = shared_pair
    async with connected(b) as reader:
        await reader.subscribe(f"chat:{x}")
        await reader.subscribe(f"live:{x}")
        channels = [f"chat:{x}", f"nope:{x}", f"live:{x}", "chat:" + "x" * 300]
        responses = (await result(a, "broadcast", channels=channels, data={"n": 1}, tags={"k": "v"}))["responses"]
        assert [each.get("error", {}).get("code") for each in responses] == [None, 102, None, 107]
        assert responses[0]["result"]["offset"] and responses[2] == {"result": {}}
        pushes = [(await reader.message())["push"] for _ in range(2)]
        assert {push["channel"] for push in pushes} == {f"chat:{x}", f"live:{x}"}
        assert all(push["pub"]["data"] == {"n": 1} and push["pub"]["tags"] == {"k": "v"} for push in pushes)


async def test_a_broadcast_to_a_thousand_channels(shared_pair, x):
    a, b = shared_pair
    channels = [f"chat:{x}-{number}" for number in range(1000)]
    first = (await result(a, "broadcast", channels=channels, data=1, idempotency_key="k"))["responses"]
    assert all(each["result"]["offset"] for each in first)
    assert (await result(b, "broadcast", channels=channels, data=1, idempotency_key="k"))["responses"] == first
    assert await error(a, "broadcast", channels=[*channels, "chat:more"], data=1) == 107
    assert await error(a, "broadcast", channels=[], data=1) == 107
    assert await error(a, "broadcast", channels=channels) == 107


# --- history --------------------------------------------------------------------------------------------------------


async def test_history_in_pages_forwards_and_backwards(shared_pair, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    at = [(await result(a, "publish", channel=channel, data=n, tags={"n": str(n)}))["offset"] for n in range(5)]
    everything = await result(b, "history", channel=channel, limit=-1)
    assert [each["data"] for each in everything["publications"]] == [0, 1, 2, 3, 4]
    assert everything["publications"][0] == {"data": 0, "offset": at[0], "tags": {"n": "0"}}
    assert everything["offset"] == at[-1]
    epoch = everything["epoch"]

    async def page(**call):
        found = await result(b, "history", channel=channel, **call)
        assert (found["offset"], found["epoch"]) == (at[-1], epoch)
        return [each["data"] for each in found["publications"]]

    assert await page() == []
    assert await page(limit=2) == [0, 1]
    assert await page(limit=2, since={"offset": at[1], "epoch": epoch}) == [2, 3]
    assert await page(limit=2, since={"offset": at[1], "epoch": ""}) == [2, 3]
    assert await page(limit=2, reverse=True) == [4, 3]
    assert await page(limit=10, reverse=True, since={"offset": at[2], "epoch": epoch}) == [1, 0]
    for beyond in (2**62, 2**63 - 1, 2**63, 2**64 - 1):
        assert await page(limit=10, since={"offset": beyond, "epoch": epoch}) == []
        everything = await page(limit=10, reverse=True, since={"offset": beyond, "epoch": epoch})
        assert everything == await page(limit=10, reverse=True)
    assert await error(b, "history", channel=channel, limit=1, since={"offset": at[1], "epoch": "another"}) == 112
    assert await error(b, "history", channel=channel, limit=1, reverse=True, since={"offset": 0, "epoch": epoch}) == 107


async def test_history_is_whole_beyond_the_limit_of_clients_and_tells_who_published(shared_pair, x):
    a, b = shared_pair
    channel = f"big:{x}"
    for start in range(0, 400, 100):
        commands = [{"publish": {"channel": channel, "data": start + n}} for n in range(100)]
        await api(a, "batch", {"commands": commands})
    assert [each["data"] for each in (await result(b, "history", channel=channel, limit=-1))["publications"]] == list(
        range(400)
    )
    async with wire_client(a) as client:
        number = (await client.connect("alice", info={"name": "Alice"}))["client"]
        await client.subscribe(f"chat:{x}")
        await client.ask_in_any_order(publish={"channel": f"chat:{x}", "data": "mine"})
    (mine,) = (await result(b, "history", channel=f"chat:{x}", limit=1))["publications"]
    assert mine["info"] == {"user": "alice", "client": number, "conn_info": {"name": "Alice"}}


async def test_removing_the_history_keeps_epoch_and_position(shared_pair, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    for number in range(3):
        await result(a, "publish", channel=channel, data=number)
    before = await result(a, "history", channel=channel, limit=-1)
    async with connected(b) as reader:
        await reader.subscribe(channel)
        assert await result(a, "history_remove", channel=channel) == {}
        after = await result(b, "history", channel=channel, limit=-1)
        assert after["publications"] == [] and after["epoch"] == before["epoch"]
        assert after["offset"] >= before["offset"]
        await result(a, "publish", channel=channel, data="new")
        assert await reader.publications(channel, 1) == ["new"]
    assert await result(a, "history_remove", channel=f"chat:{x}-never-used") == {}


# --- presence and channels ------------------------------------------------------------------------------------------


async def test_presence_of_all_edges(shared_pair, x):
    a, b = shared_pair
    channel = f"lobby:{x}"
    assert await result(a, "presence", channel=channel) == {"presence": {}}
    assert await result(a, "presence_stats", channel=channel) == {"num_clients": 0, "num_users": 0}
    async with wire_client(a) as one, wire_client(b) as two, wire_client(b) as three:
        alice = (await one.connect("alice", info={"name": "Alice"}))["client"]
        bob, again = (await two.connect("bob"))["client"], (await three.connect("bob"))["client"]
        for client in (one, two, three):
            await client.subscribe(channel)
        for edge in shared_pair:
            found = (await result(edge, "presence", channel=channel))["presence"]
            assert found.keys() == {alice, bob, again}
            assert found[alice] == {"user": "alice", "client": alice, "conn_info": {"name": "Alice"}}
            assert await result(edge, "presence_stats", channel=channel) == {"num_clients": 3, "num_users": 2}


async def test_channels_that_have_subscribers_on_any_edge(shared_pair, x):
    a, b = shared_pair
    async with connected(a) as one, connected(b) as two:
        for client in (one, two):
            await client.subscribe(f"chat:{x}-both")
        await two.subscribe(f"live:{x}-one")
        both, single = {f"chat:{x}-both": {"num_clients": 2}}, {f"live:{x}-one": {"num_clients": 1}}
        assert await result(a, "channels", pattern=f"*{x}*") == {"channels": {**both, **single}}
        assert await result(b, "channels", pattern=f"chat:{x}-*") == {"channels": both}
        assert await result(b, "channels", pattern=f"live:{x}-o?e") == {"channels": single}
        assert await result(b, "channels", pattern=f"chat:{x}") == {"channels": {}}
        assert {*both, *single} <= (await result(a, "channels"))["channels"].keys()
        await two.ask(unsubscribe={"channel": f"live:{x}-one"})
        assert await result(a, "channels", pattern=f"live:{x}*") == {"channels": {}}
    assert await error(a, "channels", pattern="*" * 256) == 107


async def test_a_pattern_made_to_take_for_ever_does_not(shared_pair, x):
    a, _ = shared_pair
    async with connected(a) as client:
        await client.subscribe("chat:" + "a" * 240)
        assert await result(a, "channels", pattern="*a" * 120 + "b") == {"channels": {}}


@pytest.mark.parametrize(
    ("method", "channel", "code"),
    [
        ("presence", "chat:x", 108),
        ("presence_stats", "chat:x", 108),
        ("history", "live:x", 108),
        ("history_remove", "live:x", 108),
        ("presence", "nope:x", 102),
        ("presence_stats", "nope:x", 102),
        ("history", "nope:x", 102),
        ("history_remove", "nope:x", 102),
        ("presence", "", 107),
        ("history", "chat:" + "x" * 300, 107),
        ("history_remove", "chat:\n", 107),
    ],
)
async def test_a_channel_that_cannot_do_it(shared_edge, method, channel, code):
    assert await error(shared_edge, method, channel=channel) == code


# --- batch ----------------------------------------------------------------------------------------------------------


async def test_a_batch_is_carried_out_in_order_and_answered_in_order(shared_pair, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    commands: list[object] = [{"publish": {"channel": channel, "data": number}} for number in range(300)]
    commands[100:100] = [
        {"publish": {"channel": "nope:x", "data": 1}},
        {"publish": {"channel": 7}},
        {},
        {"info": {}, "publish": {}},
        {"shout": {}},
        {"batch": {"commands": []}},
        {"publish": None, "history": {"channel": channel, "limit": 1}},
        {"broadcast": {"channels": [f"live:{x}", f"live:{x}-2"], "data": 1}},
        {"presence_stats": {"channel": f"lobby:{x}"}},
        {"map_stats": {}},
    ]
    answer = (await api(a, "batch", {"commands": commands})).json()
    assert answer.keys() == {"replies"}
    replies = answer["replies"]
    errors = [reply["error"]["code"] for reply in replies if "error" in reply]
    assert errors == [102, 107, 107, 107, 104, 104, 108]
    assert replies[106]["history"]["publications"][0]["data"] == 0
    assert replies[107]["broadcast"]["responses"] == [{"result": {}}, {"result": {}}]
    assert replies[108]["presence_stats"] == {"num_clients": 0, "num_users": 0}
    offsets = [reply["publish"]["offset"] for reply in replies if "publish" in reply]
    assert len(offsets) == 300 and offsets == sorted(offsets)
    kept = (await result(b, "history", channel=channel, limit=-1))["publications"]
    assert [each["data"] for each in kept] == list(range(100, 300))


async def test_a_parallel_batch_is_answered_in_order(shared_pair, x):
    a, b = shared_pair
    commands = [{"publish": {"channel": f"chat:{x}-{n}", "data": n}} for n in range(1000)]
    replies = (await api(a, "batch", {"commands": commands, "parallel": True})).json()["replies"]
    for number in (0, 1, 500, 999):
        kept = (await result(b, "history", channel=f"chat:{x}-{number}", limit=1))["publications"]
        assert kept == [{"data": number, "offset": replies[number]["publish"]["offset"]}]
    assert await error(a, "batch", commands=[*commands, {"info": {}}]) == 107
    assert (await api(a, "batch", {"commands": []})).json() == {"replies": []}


async def test_data_that_is_not_utf8_is_refused_as_a_whole(shared_edge):
    async with http_client(headers={"X-API-Key": API_KEY}) as http:
        for body in (
            b'{"channel":"chat:x","data":"\xff"}',
            b'{"commands":[{"publish":{"channel":"chat:x","data":"\xff"}}]}',
            b'{"channel":"chat:x","data":' + b"[" * 100_000 + b"}",
            b'{"channel":"chat:x","data":1}}',
            b"",
        ):
            for method in ("publish", "batch", "history"):
                assert (await http.post(f"{shared_edge.url}/api/{method}", content=body)).status_code == 400


async def test_a_lone_surrogate_in_data_is_passed_on_or_refused_but_breaks_nothing(shared_pair, x):
    a, b = shared_pair
    async with connected(b) as reader, http_client(headers={"X-API-Key": API_KEY}) as http:
        await reader.subscribe(f"chat:{x}")
        body = f'{{"channel":"chat:{x}","data":"\\ud800"}}'
        answer = await http.post(f"{a.url}/api/publish", content=body)
        await result(a, "publish", channel=f"chat:{x}", data="after")
        expected = ["\ud800", "after"] if answer.status_code == 200 else ["after"]
        assert await reader.publications(f"chat:{x}", len(expected)) == expected

    async def nobody_is_there() -> None:
        assert await result(a, "channels", pattern=f"chat:{x}") == {"channels": {}}

    await eventually(nobody_is_there)
