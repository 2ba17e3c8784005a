"""Subscriptions that do more: by the server, in cache mode, as differences, filtered by tags. On two edges."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from proto.fossil import apply_delta
from tests.support.edges import api, connected, token, wire_client
from tests.support.metrics import metric

pytestmark = [pytest.mark.integration, pytest.mark.once, pytest.mark.usefixtures("encoding")]


async def test_channels_of_the_token_are_in_the_connect_reply_and_recover_on_another_edge(shared_pair, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    async with wire_client(a) as reader:
        result = await reader.connect("alice", subs={channel: {"data": {"hello": 1}}})
        start = result["subs"][channel]
        assert start["recoverable"] and start["positioned"] and start["data"] == {"hello": 1}
        await api(b, "publish", {"channel": channel, "data": 0})
        last = (await reader.push(channel))["pub"]
        assert last["data"] == 0
        assert (await reader.ask(subscribe={"channel": channel}))["error"]["code"] == 105
    for i in (1, 2, 3):
        await api(b, "publish", {"channel": channel, "data": i})
    async with wire_client(b) as reader:
        position = {"recover": True, "epoch": start["epoch"], "offset": last["offset"]}
        mine = token("alice", subs={channel: {}})
        answer = await reader.ask(connect={"token": mine, "subs": {channel: position}})
        back = answer["connect"]["subs"][channel]
        assert back["recovered"] and [pub["data"] for pub in back["publications"]] == [1, 2, 3]
        assert back["offset"] == last["offset"]


async def test_publications_while_a_client_connects_follow_its_reply(shared_pair, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    async with connected(b, "writer") as writer:
        await writer.subscribe(channel)
        for i in range(40):
            await writer.send({"id": i + 1, "publish": {"channel": channel, "data": i}})
        async with wire_client(a) as reader:
            many: dict[str, Any] = {f"chat:{x}-{n}": {} for n in range(20)}
            start = (await reader.connect("alice", subs={channel: {}, **many}))["subs"][channel]
            await writer.send({"id": 99, "publish": {"channel": channel, "data": "end"}})
            seen: list[dict[str, Any]] = []
            while not seen or seen[-1]["data"] != "end":
                seen.append((await reader.push(channel))["pub"])
            offsets = [pub["offset"] for pub in seen]
            assert offsets == sorted(offsets) and offsets[0] > start["offset"]
            rest = [pub["data"] for pub in seen[:-1]]
            assert rest == list(range(40))[40 - len(rest) :], "nothing is missing between the position and the pushes"


async def test_a_channel_that_does_not_exist_refuses_the_connect(shared_edge):
    async with wire_client(shared_edge) as client:
        answer = await client.ask(connect={"token": token("alice", channels=["nope:x"])})
        assert answer["error"]["code"] == 102


async def test_cache_mode_gives_the_newest_publication_and_nothing_that_is_known(shared_pair, x):
    a, b = shared_pair
    channel = f"state:{x}"
    async with connected(a) as one:
        first = await one.subscribe(channel)
        assert "publications" not in first
    async with connected(a) as witness:
        await witness.subscribe(channel)
        for i in range(3):
            await api(b, "publish", {"channel": channel, "data": {"n": i}})
        await witness.publications(channel, 3)  # they are at this edge, too
    async with connected(b) as two:
        fresh = await two.subscribe(channel)
        assert [pub["data"] for pub in fresh["publications"]] == [{"n": 2}] and "was_recovering" not in fresh
    async with connected(a) as one:
        position = {"recover": True, "epoch": fresh["epoch"], "offset": first.get("offset", 0)}
        back = await one.subscribe(channel, **position)
        assert back["recovered"] and back["was_recovering"]
        assert [pub["data"] for pub in back["publications"]] == [{"n": 2}]
        known = {"recover": True, "epoch": fresh["epoch"], "offset": back["publications"][0]["offset"]}
        await one.ask(unsubscribe={"channel": channel})
        again = await one.subscribe(channel, **known)
        assert again["recovered"] and "publications" not in again


def text_of(pub: dict[str, Any], base: str) -> str:
    """The payload that a JSON client with deltas makes of a publication."""
    data: str = pub["data"]
    return apply_delta(base.encode(), data.encode()).decode() if pub.get("delta") else data


async def test_deltas_give_every_subscriber_the_same_payloads(shared_pair, x):
    """In JSON: a patch is bytes in Protobuf, which this wire client cannot show; the stock SDKs' tests have those."""
    a, b = shared_pair
    channel = f"diff:{x}"
    big = {"text": "x" * 300, "n": 0, "ü": "€"}
    async with connected(a, encoding="json") as patched, connected(b, "bob") as whole:
        result = await patched.subscribe(channel, delta="fossil")
        assert result["delta"]
        assert "delta" not in await whole.subscribe(channel)
        base = ""
        deltas = 0
        for i in range(5):
            await whole.ask_in_any_order(publish={"channel": channel, "data": {**big, "n": i}})
            pub = (await patched.push(channel))["pub"]
            base = text_of(pub, base)
            deltas += pub.get("delta", False)
            assert json.loads(base) == {**big, "n": i}
        assert deltas == 4, "the first one whole, then differences"
        await patched.ask(unsubscribe={"channel": channel})
        start = {"recover": True, "epoch": result["epoch"], "offset": result["offset"]}
        back = await patched.subscribe(channel, delta="fossil", **start)
        base = ""
        for i, pub in enumerate(back["publications"]):
            base = text_of(pub, base)
            assert json.loads(base) == {**big, "n": i} and pub.get("delta", False) == (i > 0)
        await whole.ask_in_any_order(publish={"channel": channel, "data": {**big, "n": "live"}})
        pub = (await patched.push(channel))["pub"]
        assert pub["delta"] and json.loads(text_of(pub, base))["n"] == "live"


async def test_tags_filter_what_is_live_and_what_is_recovered(shared_pair, x):
    a, b = shared_pair
    channel = f"diff:{x}"
    wanted = {"key": "lang", "cmp": "eq", "val": "en"}
    async with connected(a) as client:
        start = await client.subscribe(channel, tf=wanted)
        for i, lang in enumerate(("en", "de", "en", "fr", "en")):
            await api(b, "publish", {"channel": channel, "data": i, "tags": {"lang": lang}})
        assert await client.publications(channel, 3) == [0, 2, 4]
        await client.ask(unsubscribe={"channel": channel})
        position = {"recover": True, "epoch": start["epoch"], "offset": start["offset"]}
        back = await client.subscribe(channel, tf=wanted, **position)
        assert [pub["data"] for pub in back["publications"]] == [0, 2, 4]
        refused = await client.ask(subscribe={"channel": f"chat:{x}", "tf": wanted})
        assert refused["error"]["code"] == 107
        bad = await client.ask(subscribe={"channel": f"diff:{x}-2", "tf": {"op": "xor"}})
        assert bad["error"]["code"] == 107


async def test_bytes_reach_protobuf_clients_as_they_are_and_are_left_out_for_json_ones(shared_pair, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    async with connected(a, "alice", "json") as text, connected(b, "bob", "protobuf") as binary:
        start = await text.subscribe(channel)
        await binary.subscribe(channel)
        call = {"channel": channel, "b64data": base64.b64encode(b"\x00\xff no JSON").decode()}
        assert "result" in (await api(a, "publish", call)).json()
        assert "result" in (await api(b, "publish", {"channel": channel, "data": "next"})).json()
        assert await text.publications(channel, 1) == ["next"]
        frame = await binary.socket.recv()
        assert b"\x00\xff no JSON" in frame
    async with connected(b, "alice", "json") as text:
        position = {"recover": True, "epoch": start["epoch"], "offset": start["offset"]}
        back = await text.subscribe(channel, **position)
        assert back["recovered"] and [pub["data"] for pub in back["publications"]] == ["next"]
        page = (await text.ask(history={"channel": channel, "limit": 10}))["history"]
        assert [pub["data"] for pub in page["publications"]] == ["next"]
        assert await metric(b, "left_out_total") >= 2


async def test_a_removed_history_is_told_to_who_comes_back(shared_pair, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    async with connected(a) as client:
        start = await client.subscribe(channel)
        for i in range(3):
            await api(b, "publish", {"channel": channel, "data": i})
        seen = [(await client.push(channel))["pub"] for _ in range(3)]
        assert (await api(b, "history_remove", {"channel": channel})).json() == {"result": {}}
        history = (await api(a, "history", {"channel": channel, "limit": -1})).json()["result"]
        assert history["publications"] == [] and history["epoch"] == start["epoch"]
        await api(b, "publish", {"channel": channel, "data": "after"})
        assert await client.publications(channel, 1) == ["after"]  # and so this edge knows of the removal, too
        await client.ask(unsubscribe={"channel": channel})
        level = {"recover": True, "epoch": start["epoch"], "offset": seen[-1]["offset"]}
        back = await client.subscribe(channel, **level)
        assert back["recovered"], "it had everything that was removed"
        assert [pub["data"] for pub in back["publications"]] == ["after"]
        await client.ask(unsubscribe={"channel": channel})
        behind = {"recover": True, "epoch": start["epoch"], "offset": seen[0]["offset"]}
        back = await client.subscribe(channel, **behind)
        assert back["was_recovering"] and "recovered" not in back
        await api(b, "publish", {"channel": channel, "data": "on"})
        assert await client.publications(channel, 1) == ["on"]


async def test_user_limited_channels_are_for_their_users(shared_edge, x):
    async with connected(shared_edge, "alice") as client:
        await client.subscribe(f"limited:{x}#bob,alice")
        assert (await client.ask(subscribe={"channel": f"limited:{x}#bob"}))["error"]["code"] == 103
        assert (await client.ask(subscribe={"channel": f"limited:{x}"}))["error"]["code"] == 103
        assert (await client.ask(subscribe={"channel": f"chat:{x}#alice"}))["error"]["code"] == 103
