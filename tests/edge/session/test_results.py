"""Subscribe results as a client gets them: in a reply, or as a unidirectional client's push."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from proto.messages import ClientInfo, Publication, StreamPosition
from proto.publications import size_of
from proto.replies import ConnectResult, Reply, SubscribeResult
from services.edge.channels.subscription import Subscription
from services.edge.channels.tags_filter import TagsFilter
from services.edge.framing import formats
from services.edge.grants import Grant
from services.edge.session.results import (
    REPLY_BYTES,
    connect_reply,
    fit_into_reply,
    fitting,
    subscribe_pushes,
    tailored,
)
from tests.support.namespaces import rules_of

LARGE = [Publication(Raw(b"x" * (REPLY_BYTES // 2)), offset=offset) for offset in (1, 2, 3)]


def plain(reply: Reply) -> object:
    """As JSON has it."""
    return json.loads(msgspec.json.encode(reply))


def test_results_are_cut_where_a_reply_is_full() -> None:
    given = {"a": SubscribeResult(publications=LARGE, epoch="e"), "b": SubscribeResult(epoch="e")}
    results, positions = fit_into_reply(given)
    assert [pub.offset for pub in results["a"].publications] == [1]
    assert positions == {"a": StreamPosition(1, "e")} and results["b"] == SubscribeResult(epoch="e")


def test_where_the_reply_is_full_a_recovery_goes_on_from_the_clients_own_offset() -> None:
    """It gets at least one publication where its own offset is not known: without history before them, say."""
    full = SubscribeResult(publications=LARGE, epoch="e", recovered=True)
    recovered = SubscribeResult(publications=LARGE[1:2], epoch="f", offset=1, recovered=True)
    cached = SubscribeResult(publications=LARGE[1:2], epoch="g", offset=2, recovered=True)
    results, positions = fit_into_reply({"a": full, "b": recovered, "c": cached})
    assert (results["b"].publications, positions["b"]) == ([], StreamPosition(1, "f"))
    assert results["c"].publications == LARGE[1:2] and "c" not in positions


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 200))
def test_a_page_holds_what_there_is_room_for_and_one_at_least(sizes: list[int], room: int) -> None:
    publications = [Publication(Raw(b"x" * size), offset=number) for number, size in enumerate(sizes, 1)]
    first, left = fitting(publications, room)
    assert first == publications[: len(first)] and (len(first) > 0) == (len(publications) > 0)
    assert len(first) == 1 or sum(map(size_of, first)) <= room
    assert (left == 0) == (len(first) < len(publications))


class TestTailored:
    def subscription(self, channel: str, filter: TagsFilter | None = None, *, delta: bool = False) -> Subscription:
        info = ClientInfo(user="42", client="c1")
        return Subscription(rules_of(channel), Grant(), info, filter=filter, delta=delta)

    def test_a_filter_counts_for_what_was_missed_too(self) -> None:
        red, blue = (Publication(Raw(b"1"), tags={"team": team}) for team in ("red", "blue"))
        subscription = self.subscription("diff:x", lambda tags: tags.get("team") == "red")
        result = SubscribeResult(publications=[red, blue], offset=7, epoch="e")
        assert tailored(formats.WEBSOCKET_JSON, subscription, result) == SubscribeResult(
            publications=[red], offset=7, epoch="e"
        )

    def test_deltas_follow_the_first_and_the_client_has_a_base(self) -> None:
        data = [b'{"text":"' + b"a" * 200 + b'","n":%d}' % n for n in range(2)]
        subscription = self.subscription("diff:x", delta=True)
        result = SubscribeResult(publications=[Publication(Raw(each)) for each in data])
        whole, difference = tailored(formats.WEBSOCKET_JSON, subscription, result).publications
        assert not whole.delta and difference.delta and len(bytes(difference.data)) < 100
        assert subscription.has_base

    def test_where_all_are_filtered_the_client_has_no_base(self) -> None:
        subscription = self.subscription("diff:x", delta=True)
        tailored(formats.WEBSOCKET_JSON, subscription, SubscribeResult())
        assert not subscription.has_base

    def test_bytes_that_a_json_client_with_deltas_cannot_take_are_left_to_the_encoder_and_no_base(self) -> None:
        long = "x" * 200
        data = [b'[1,"%s"]' % long.encode(), b"\xff", b'[2,"%s"]' % long.encode(), b'[3,"%s"]' % long.encode()]
        result = SubscribeResult(publications=[Publication(Raw(each)) for each in data])
        for count, has_base in ((2, False), (4, True)):
            subscription = self.subscription("diff:x", delta=True)
            missed = replace(result, publications=result.publications[:count])
            made = tailored(formats.WEBSOCKET_JSON, subscription, missed).publications
            assert [each.delta for each in made] == [False, False, False, True][:count]
            assert bytes(made[1].data) == b"\xff" and subscription.has_base is has_base


class TestReplies:
    def test_a_connect_is_answered(self) -> None:
        reply = connect_reply(formats.WEBSOCKET_JSON, 1, ConnectResult("c1", "v", ping=25))
        assert plain(reply) == {"id": 1, "connect": {"client": "c1", "version": "v", "ping": 25}}

    def test_a_unidirectional_client_gets_a_push(self) -> None:
        subs = {"log:x": SubscribeResult(offset=7, epoch="e")}
        reply = connect_reply(formats.UNI_SSE, 1, ConnectResult("c1", "v", subs=subs))
        assert plain(reply) == {
            "push": {"connect": {"client": "c1", "version": "v", "subs": {"log:x": {"offset": 7, "epoch": "e"}}}},
        }

    def test_a_subscription_that_the_server_made_is_pushed_with_what_was_missed_behind_it(self) -> None:
        result = SubscribeResult(
            recoverable=True, positioned=True, epoch="e", offset=1, publications=[Publication(Raw(b"2"), offset=2)]
        )
        assert [plain(push) for push in subscribe_pushes("log:x", result)] == [
            {
                "push": {
                    "channel": "log:x",
                    "subscribe": {"recoverable": True, "positioned": True, "epoch": "e", "offset": 1},
                }
            },
            {"push": {"channel": "log:x", "pub": {"data": 2, "offset": 2}}},
        ]
