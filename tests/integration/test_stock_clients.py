"""The stock clients, unmodified, with both encodings, on two edges: the calls that every application makes."""

from __future__ import annotations

import pytest

from tests.support.edges import api
from tests.support.eventually import eventually
from tests.support.stock_clients import KINDS, data_of, events_of, receives, receives_last, sees
from tests.support.stock_errors import CommandFailed

pytestmark = [pytest.mark.integration, pytest.mark.once]


async def test_subscribe_on_one_edge_publish_on_the_other_received_in_order(shared_pair, client, other, x):
    a, b = shared_pair
    alice, bob = client(a, "alice"), other(b, "bob")
    await alice.connect()
    await bob.connect()
    for channel in (f"chat:{x}", f"live:{x}"):
        await alice.subscribe(channel)
        await bob.subscribe(channel)
        for i in range(40):
            await bob.publish(channel, {"n": i, "text": "h\N{LATIN SMALL LETTER E WITH ACUTE}llo \N{GRINNING FACE}"})
        for each in (alice, bob):  # a publisher may have its reply before its own publication
            await sees(each, "publication", channel, 40)
        assert [data["n"] for data in data_of(alice, channel)] == list(range(40))
        assert data_of(alice, channel) == data_of(bob, channel)
    assert {event["user"] for event in events_of(alice, "publication")} == {"bob"}


async def test_a_subscription_that_pauses_gets_what_it_missed(shared_pair, client, other, x):
    a, b = shared_pair
    alice, bob = client(a, "alice"), other(b, "bob")
    for each in (alice, bob):
        await each.connect()
        await each.subscribe(f"chat:{x}")
    await bob.publish(f"chat:{x}", 0, own=True)
    await receives(alice, f"chat:{x}", [0])
    await alice.unsubscribe(f"chat:{x}")
    for i in (1, 2, 3):
        await bob.publish(f"chat:{x}", i, own=True)
    await alice.subscribe(f"chat:{x}")
    await bob.publish(f"chat:{x}", 4)
    await receives(alice, f"chat:{x}", [0, 1, 2, 3, 4])
    last = events_of(alice, "subscribed")[-1]
    assert last["was_recovering"] and last["recovered"]


async def test_a_connection_that_breaks_comes_back_with_everything(shared_pair, client, x):
    a, b = shared_pair
    alice = client(a, "alice")
    await alice.connect()
    await alice.subscribe(f"chat:{x}")
    await alice.disconnect()
    for i in range(5):
        await api(b, "publish", {"channel": f"chat:{x}", "data": i, "tags": {"k": "v"}})
    await alice.connect()
    await receives(alice, f"chat:{x}", [0, 1, 2, 3, 4])
    assert all(event["tags"] == {"k": "v"} for event in events_of(alice, "publication"))


async def test_history_and_errors_reach_the_application(shared_pair, client, other, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    alice, bob = client(a, "alice"), other(b, "bob")
    await alice.connect()
    await bob.connect()
    with pytest.raises(CommandFailed) as refused:
        await alice.history(channel, 10)
    assert refused.value.code == 103
    await alice.subscribe(channel)
    await bob.subscribe(channel)
    for i in range(6):
        await bob.publish(channel, i)

    async def history(*args: object, **options: object) -> list[object]:
        return [pub["data"] for pub in (await alice.history(channel, *args, **options))["publications"]]

    found = await alice.history(channel, 2)
    first, second = found["publications"]
    assert [first["data"], second["data"]] == [0, 1] and first["user"] == "bob"
    assert 0 < first["offset"] < second["offset"] < found["offset"] and found["epoch"]
    assert await history() == [], "no limit asks for the position only"
    assert await history(-1, own=True) == [0, 1, 2, 3, 4, 5]
    assert await history(2, reverse=True) == [5, 4]
    assert await history(2, since=(second["offset"], found["epoch"])) == [2, 3]
    assert await history(9, since=(second["offset"], found["epoch"]), reverse=True, own=True) == [0]
    with pytest.raises(CommandFailed) as refused:
        await history(2, since=(second["offset"], "another epoch"))
    assert refused.value.code == 112


async def test_a_refusal_has_its_code(shared_pair, client, x):
    alice = client(shared_pair[0], "alice")
    await alice.connect()
    for call, channel, code in (
        (alice.publish(f"nope:{x}", 1), f"nope:{x}", 102),
        (alice.publish(f"chat:{x}", 1), f"chat:{x}", 103),
        (alice.presence(f"chat:{x}"), f"chat:{x}", 108),
        (alice.presence_stats(f"room:{x}"), f"room:{x}", 103),
        (alice.history(f"live:{x}"), f"live:{x}", 108),
    ):
        with pytest.raises(CommandFailed) as refused:
            await call
        assert refused.value.code == code, channel
    for channel, code in ((f"nope:{x}", 102), (f"closed:{x}", 103), (f"chat:{'x' * 300}", 107)):
        with pytest.raises(CommandFailed):
            await alice.subscribe(channel)
        assert events_of(alice, "unsubscribed", channel)[-1]["code"] == code
    await alice.subscribe(f"chat:{x}")
    assert not events_of(alice, "disconnected"), "and the connection goes on"


PAYLOADS = [
    {"text": "\N{SNOWMAN} \N{GRINNING FACE} \N{LINE SEPARATOR} \0 'quoted' \"twice\" \\ \n </script>"},
    [[], {}, "", 0, -1, 0.1, 1e300, 2**53 - 1, True, False, None, {"\N{SNOWMAN}": {"deep": [[[1]]]}}],
    0,
    False,
    "x" * 60_000,
]


async def test_payloads_are_the_same_for_everybody_whoever_publishes_them(shared_pair, stock, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    everybody = [stock.of(kind)(edge, f"{kind}-{edge.name}") for kind in KINDS for edge in (a, b)]
    for each in everybody:
        await each.connect()
        await each.subscribe(channel)
    said = []
    for each in everybody[::2]:
        for payload in PAYLOADS:
            await each.publish(channel, payload)
            said.append(payload)
    for each in everybody:
        await sees(each, "publication", channel, len(said))
        assert data_of(each, channel) == said
        assert not [e for e in events_of(each, "connecting") if e["code"]], "in one connection"


async def test_numbers_keep_all_their_digits(shared_pair, stock, x):
    """JavaScript has doubles only, which is why this is not in `PAYLOADS`."""
    a, b = shared_pair
    data = {"big": 2**80 + 1, "id": 9_007_199_254_740_993}
    readers = [stock.of("python-json")(a, "alice"), stock.of("python-protobuf")(b, "bob")]
    for each in readers:
        await each.connect()
        await each.subscribe(f"chat:{x}")
    for each in readers:
        await each.publish(f"chat:{x}", data)
    for each in readers:
        await receives(each, f"chat:{x}", [data, data])


async def test_bytes_pass_between_protobuf_clients_and_are_left_out_for_json_ones(shared_pair, stock, x):
    a, b = shared_pair
    channel = f"live:{x}"
    clients = {kind: stock.of(kind)(a if i % 2 else b, kind) for i, kind in enumerate(KINDS)}
    binary = [clients["python-protobuf"], clients["js-protobuf"]]
    for each in clients.values():
        await each.connect()
        await each.subscribe(channel)
    said = [b"\x00\xff\xfe", bytes(range(256))]
    for each, data in zip(binary, said, strict=True):
        await each.publish(channel, data)
    for each in binary:
        await receives(each, channel, said)
    await binary[0].publish(channel, b'"text"')
    for kind in ("python-json", "js-json"):
        await receives(clients[kind], channel, ["text"])
        assert events_of(clients[kind], "disconnected") == []


async def test_an_rpc_that_publishes_with_a_key_publishes_once_though_it_is_tried_on_another_edge(
    shared_pair, client, other, x
):
    """Stock SDKs have no idempotency key for their publish."""
    a, b = shared_pair
    first, again = client(a, "alice"), other(b, "alice")
    for channel in (f"chat:{x}", f"live:{x}"):
        answers = []
        for each in (first, again):
            await each.connect()
            await each.subscribe(channel)
            call = {"channel": channel, "idempotency_key": "order 7", "data": {"n": 1}}
            answers.append(await each.rpc("fairlead.publish", call))
        assert answers[0] == answers[1] and (channel.startswith("live:") or answers[0]["offset"] > 0)
        await first.publish(channel, {"n": 2})
        await receives(first, channel, [{"n": 1}, {"n": 2}])
        if channel.startswith("chat:"):
            await receives(again, channel, [{"n": 2}])  # the first was there before it came
        else:  # the first may still be on its way through NATS: without history, an answer means no more than "sent"
            await receives_last(again, channel, {"n": 2})
            assert data_of(again, channel) in ([{"n": 2}], [{"n": 1}, {"n": 2}])
    with pytest.raises(CommandFailed) as refused:
        await first.rpc("fairlead.publish", {"channel": f"closed:{x}", "idempotency_key": "k", "data": 1})
    assert refused.value.code == 103


async def test_a_drained_edge_is_taken_as_a_reason_to_come_back(pair, client, services):
    a, _ = pair
    alice = client(a, "alice")
    await alice.connect()
    assert await a.stop() == 0
    await eventually(lambda: [e for e in events_of(alice, "connecting") if e["code"] == 1])
    a.start()  # the same address: a restarted edge
    await a.ready()
    await eventually(lambda: len(events_of(alice, "connected")) == 2, within_s=20)
    assert not events_of(alice, "disconnected")
