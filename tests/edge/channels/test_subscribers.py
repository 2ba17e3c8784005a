"""Fan-out: one encoding and one frame for each group, differences against the right base, filters, joins."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from proto import codes
from proto.codec_protobuf import decode_replies
from proto.codes import CloseCode, UnsubscribeCode
from proto.fossil import apply_delta
from proto.messages import ClientInfo, FilterNode, Publication
from proto.replies import Join, Push
from services.chassis.tracing.span import Attributes
from services.edge.channels import batch as batch_module
from services.edge.channels import encoding
from services.edge.channels.encoding import EncodedPushes, as_delta, as_deltas
from services.edge.channels.subscriber import SKIPPED, Untaken
from services.edge.channels.subscribers import Subscribers
from services.edge.channels.subscription import Subscription
from services.edge.channels.tags_filter import compile_filter
from services.edge.framing import formats
from services.edge.framing.formats import SSE, WEBSOCKET_JSON, WEBSOCKET_PROTOBUF, Format
from services.edge.grants import Grant
from tests.support.cluster import FakeSubscriber
from tests.support.namespaces import rules_of
from tests.support.transport import frames_in

RED = compile_filter(FilterNode(key="team", cmp="eq", val="red"))
LONG = "x" * 200


def subscription(**attributes: Any) -> Subscription:
    made = Subscription(rules_of("diff:x"), Grant(), ClientInfo(user="42", client=attributes.pop("client", "c1")))
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def publication(value: object, offset: int = 0, **more: Any) -> Publication:
    return Publication(Raw(value if isinstance(value, bytes) else json.dumps(value).encode()), offset=offset, **more)


class Reader:
    """A client with deltas as SDKs are: it holds the last payload, and makes the next one of it."""

    def __init__(self, format: Format, plain: bool = False) -> None:
        """`plain`: it did not ask for deltas, so that JSON payloads are no strings."""
        self.format = format
        self.plain = plain
        self.takes = True
        self.data: list[bytes] = []
        self.deltas: list[bool] = []
        self.closed = False
        self.missed = 0

    @property
    def owner(self) -> Reader:
        return self

    def push(self, framed: bytes, subscription: Subscription, count: int) -> Untaken | None:
        if not self.takes:
            return SKIPPED
        ((_, body),) = frames_in(framed)
        before = len(self.data)
        if self.format is WEBSOCKET_PROTOBUF:
            for reply in decode_replies(body):
                assert reply.push is not None and reply.push.pub is not None
                self.read(bytes(reply.push.pub.data), reply.push.pub.delta)
        else:
            for line in body.splitlines():
                pub = json.loads(line)["push"]["pub"]
                data = json.dumps(pub["data"]) if self.plain else pub["data"]
                self.read(data.encode(), pub.get("delta", False))
        assert len(self.data) == before + count
        return None

    def read(self, data: bytes, delta: bool) -> None:
        self.deltas.append(delta)
        self.data.append(apply_delta(self.data[-1], data) if delta else data)

    def push_member_events(self, channel: str, framed: bytes, count: int) -> Untaken | None:
        raise AssertionError("nobody comes or goes")

    def left_out(self, count: int) -> None:
        self.missed += count

    def close(self, close: CloseCode, detail: str = "") -> None:
        raise AssertionError("nobody ends it")

    def labels(self) -> tuple[str, str]:
        raise AssertionError("nobody recovers here")

    def described(self) -> Attributes:
        raise AssertionError("nothing is traced")

    def end_subscription(self, channel: str, why: UnsubscribeCode) -> None:
        raise AssertionError("nobody ends it")


class TestGroups:
    def test_each_format_gets_its_own_encoding_and_all_the_same_publication(self) -> None:
        subscribers = Subscribers("news")
        readers = [FakeSubscriber(format=each) for each in (WEBSOCKET_JSON, WEBSOCKET_PROTOBUF, SSE, formats.UNI_SSE)]
        for reader in readers:
            subscribers.add(reader, subscription())
        subscribers.fan_out(publication({"n": 1}, 7, tags={"k": "v"}, info=ClientInfo(user="1", client="c")), None)
        for reader in readers:
            pub = {"data": {"n": 1}, "offset": 7, "tags": {"k": "v"}, "info": {"user": "1", "client": "c"}}
            assert reader.pushes == [{"channel": "news", "pub": pub}]

    def test_a_group_is_encoded_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[Format] = []
        encode_publications = encoding.encode_publications

        def counted(format: Format, channel: str, publications: list[Publication]) -> EncodedPushes:
            made.append(format)
            return encode_publications(format, channel, publications)

        monkeypatch.setattr(batch_module, "encode_publications", counted)
        subscribers = Subscribers("news")
        for _ in range(10):
            subscribers.add(FakeSubscriber(), subscription())
            subscribers.add(FakeSubscriber(), subscription(filter=RED))
            subscribers.add(FakeSubscriber(format=WEBSOCKET_PROTOBUF), subscription())
        subscribers.fan_out(publication(1, tags={"team": "red"}), None)
        assert sorted(each.codec.name for each in made) == ["json", "json", "protobuf"]

    def test_it_knows_who_is_in_it(self) -> None:
        subscribers = Subscribers("news")
        one, two = FakeSubscriber(), FakeSubscriber(format=SSE)
        mine, theirs = subscription(), subscription(delta=True)
        subscribers.add(one, mine)
        subscribers.add(two, theirs)
        assert len(subscribers) == 2 and dict(subscribers) == {one: mine, two: theirs}
        assert subscribers.get(one) is mine and subscribers.get(two) is theirs
        assert subscribers.remove(one) is mine and subscribers.remove(one) is None and subscribers.get(one) is None
        assert len(subscribers) == 1
        assert subscribers.remove(two) is theirs and not subscribers

    def test_a_subscriber_that_overflows_is_closed_after_the_fan_out_and_hurts_no_other(self) -> None:
        subscribers = Subscribers("news")

        class Slow(FakeSubscriber):
            def push(self, framed: bytes, subscription: Subscription, count: int) -> Untaken | None:
                super().push(framed, subscription, count)
                return Untaken(codes.SLOW, "slow")

            def close(self, close: CloseCode, detail: str = "") -> None:
                assert all(each.values == [1] for each in everybody), "not in the middle of the fan-out"
                super().close(close, detail)
                subscribers.remove(self)

        everybody = [Slow(format=each) for each in (WEBSOCKET_JSON, WEBSOCKET_JSON, SSE)]
        for each in everybody:
            subscribers.add(each, subscription())
        subscribers.fan_out(publication(1), None)
        subscribers.fan_out(publication(2), None)
        assert [each.values for each in everybody] == [[1], [1], [1]]
        assert [each.closes for each in everybody] == [[(codes.SLOW, "slow")]] * 3

    def test_members_are_those_who_are_seen(self) -> None:
        subscribers = Subscribers("news")
        seen = ClientInfo(user="42", client="c1")
        subscribers.add(FakeSubscriber(), subscription(member=seen))
        subscribers.add(FakeSubscriber(), subscription())
        subscribers.add(FakeSubscriber(format=SSE), subscription(member=ClientInfo(user="7", client="c2")))
        assert subscribers.members() == {"c1": seen, "c2": ClientInfo(user="7", client="c2")}


class TestFilters:
    def test_a_filtered_subscriber_gets_what_it_wants_and_the_others_everything(self) -> None:
        subscribers = Subscribers("news")
        red, everything = FakeSubscriber(), FakeSubscriber()
        subscribers.add(red, subscription(filter=RED))
        subscribers.add(everything, subscription())
        for value, tags in ((1, {"team": "red"}), (2, {"team": "blue"}), (3, None), (4, {"team": "red"})):
            subscribers.fan_out(publication(value, tags=tags), None)
        assert (red.values, everything.values) == ([1, 4], [1, 2, 3, 4])

    def test_a_publication_without_takers_is_not_encoded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        subscribers = Subscribers("news")
        subscribers.add(FakeSubscriber(), subscription(filter=RED))
        monkeypatch.setattr(batch_module, "encode_publications", None)
        subscribers.fan_out(publication(1), None)


class TestWhatIsNotJson:
    def test_json_clients_cannot_take_it_and_the_others_get_it(self) -> None:
        subscribers = Subscribers("news")
        text, filtered, binary = FakeSubscriber(), FakeSubscriber(), Reader(WEBSOCKET_PROTOBUF)
        subscribers.add(text, subscription())
        subscribers.add(filtered, subscription(filter=RED))
        subscribers.add(binary, subscription())
        subscribers.fan_out(publication(b"\xff", tags={"team": "red"}), None)
        assert text.missed == filtered.missed == 1 and text.pushes == filtered.pushes == []
        assert binary.data == [b"\xff"] and not binary.missed
        assert text.closes == filtered.closes == []

    def test_a_client_that_does_not_want_it_does_not_mind(self) -> None:
        subscribers = Subscribers("news")
        red, blue = FakeSubscriber(), FakeSubscriber()
        subscribers.add(red, subscription(filter=RED))
        subscribers.add(blue, subscription(filter=compile_filter(FilterNode(key="team", cmp="eq", val="blue"))))
        subscribers.fan_out(publication(b"\xff", tags={"team": "red"}), None)
        assert (red.missed, blue.missed) == (1, 0)
        subscribers.fan_out(publication(1, tags={"team": "blue"}), None)
        assert blue.values == [1]

    def test_with_deltas_it_is_the_same(self) -> None:
        subscribers = Subscribers("news")
        text, binary = Reader(WEBSOCKET_JSON), Reader(WEBSOCKET_PROTOBUF)
        subscribers.add(text, subscription(delta=True))
        subscribers.add(binary, subscription(delta=True))
        spaced = b'{\n  "a": "\xc3\xbc"\n}'
        subscribers.fan_out(publication(spaced), None)
        assert text.data == binary.data == [spaced], "the text as it is: the next difference counts from it"
        for count, wrong in enumerate((b"\xff", "grüße".encode()), 1):
            subscribers.fan_out(publication(wrong), publication(spaced))
            assert (text.missed, binary.missed, binary.data[-1]) == (count, 0, wrong)
        after, last = publication({"n": 1, "text": LONG}), publication({"n": 2, "text": LONG})
        subscribers.fan_out(after, publication(b"\xff"))
        subscribers.fan_out(last, after)
        assert text.data[-2:] == [bytes(after.data), bytes(last.data)] and text.deltas == [False, False, True]


def delta_of(format: Format, publication: Publication, previous: Publication | None) -> Publication:
    made = as_delta(format, publication, previous)
    assert made is not None
    return made


class TestDeltas:
    @pytest.mark.parametrize("format", [WEBSOCKET_JSON, WEBSOCKET_PROTOBUF])
    def test_the_first_is_whole_and_the_next_ones_are_differences(self, format: Format) -> None:
        subscribers, reader = Subscribers("news"), Reader(format)
        subscribers.add(reader, subscription(delta=True))
        before = None
        for n in range(3):
            after = publication({"n": n, "text": LONG})
            subscribers.fan_out(after, before)
            before = after
        assert reader.deltas == [False, True, True]
        assert [json.loads(data)["n"] for data in reader.data] == [0, 1, 2]

    def test_a_later_subscriber_starts_with_a_whole_publication(self) -> None:
        subscribers, first, second = Subscribers("news"), Reader(WEBSOCKET_JSON), Reader(WEBSOCKET_JSON)
        subscribers.add(first, subscription(delta=True))
        one, two, three = (publication({"n": n, "text": LONG}) for n in range(3))
        subscribers.fan_out(one, None)
        subscribers.add(second, subscription(delta=True))
        subscribers.fan_out(two, one)
        subscribers.fan_out(three, two)
        assert (first.deltas, second.deltas) == ([False, True, True], [False, True])
        assert first.data[-2:] == second.data

    def test_a_subscriber_that_missed_one_gets_a_whole_one_next(self) -> None:
        subscribers, reader = Subscribers("news"), Reader(WEBSOCKET_JSON)
        subscribers.add(reader, subscription(delta=True))
        pubs = [publication({"n": n, "text": LONG}) for n in range(5)]
        for n, (before, after) in enumerate(zip([None, *pubs], pubs, strict=False)):
            reader.takes = n != 2
            subscribers.fan_out(after, before)
        assert reader.deltas == [False, True, False, True]
        assert [json.loads(data)["n"] for data in reader.data] == [0, 1, 3, 4]

    def test_where_bases_are_forgotten_or_not_known_everybody_gets_a_whole_one(self) -> None:
        subscribers, reader = Subscribers("news"), Reader(WEBSOCKET_JSON)
        subscribers.add(reader, subscription(delta=True))
        one, two, three = (publication({"n": n, "text": LONG}) for n in range(3))
        subscribers.fan_out(one, None)
        subscribers.forget_bases()
        subscribers.fan_out(two, one)
        subscribers.fan_out(three, None)
        assert reader.deltas == [False, False, False]

    def test_a_difference_that_is_not_smaller_is_not_sent(self) -> None:
        for format in (WEBSOCKET_JSON, WEBSOCKET_PROTOBUF):
            assert not delta_of(format, publication(b"[1]"), publication(b"[2]")).delta
            assert delta_of(format, publication({"a": 1, "t": LONG}), publication({"a": 2, "t": LONG})).delta

    def test_in_json_everything_is_a_string(self) -> None:
        whole = delta_of(WEBSOCKET_JSON, publication({"n": 1}), None)
        assert json.loads(bytes(whole.data)) == '{"n": 1}'
        assert bytes(delta_of(WEBSOCKET_PROTOBUF, publication({"n": 1}), None).data) == b'{"n": 1}'
        assert as_delta(WEBSOCKET_JSON, publication(b"\xff"), None) is None

    def test_recovered_ones_are_differences_to_each_other(self) -> None:
        pubs = [publication({"n": n, "text": LONG}, offset=n) for n in range(4)]
        for format in (WEBSOCKET_JSON, WEBSOCKET_PROTOBUF):
            (made, has_base), reader = as_deltas(format, pubs), Reader(format)
            assert has_base
            for each in made:
                raw = bytes(each.data)
                reader.read(json.loads(raw).encode() if format is WEBSOCKET_JSON else raw, each.delta)
            assert reader.deltas == [False, True, True, True]
            assert reader.data == [bytes(each.data) for each in pubs]
            assert [each.offset for each in made] == [0, 1, 2, 3]
        assert as_deltas(WEBSOCKET_JSON, []) == ([], False)


texts = st.lists(st.sampled_from(["grüße", "x" * 60, "日本" * 20, "🎉", "a"]), max_size=4).map("".join)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), texts),
        st.tuples(st.just("stall"), st.integers(0, 3)),
        st.tuples(st.just("resume"), st.integers(0, 3)),
        st.tuples(st.just("renew"), st.integers(0, 3)),
        st.tuples(st.just("forget"), st.just(0)),
    ),
    max_size=30,
)


@given(steps)
def test_every_client_reads_all_that_was_published_since_it_came_except_what_it_missed(
    story: list[tuple[str, Any]],
) -> None:
    subscribers = Subscribers("news")
    readers = [Reader((WEBSOCKET_JSON, WEBSOCKET_PROTOBUF)[n % 2]) for n in range(4)]
    wanted: list[list[bytes]] = [[] for _ in readers]
    for reader in readers:
        subscribers.add(reader, subscription(delta=True))
    before = None
    for what, argument in story:
        match what:
            case "publish":
                data = json.dumps({"text": argument}, ensure_ascii=False).encode()
                for n, reader in enumerate(readers):
                    if reader.takes:
                        wanted[n].append(data)
                after = publication(data)
                subscribers.fan_out(after, before)
                before = after
            case "stall":
                readers[argument].takes = False
            case "resume":
                readers[argument].takes = True
            case "renew":
                subscribers.remove(readers[argument])
                subscribers.add(readers[argument], subscription(delta=True))
            case "forget":
                subscribers.forget_bases()
    assert [reader.data for reader in readers] == wanted


class TestMembers:
    def test_joins_and_leaves_are_for_those_who_want_them(self) -> None:
        subscribers = Subscribers("room")
        curious = [FakeSubscriber(format=each) for each in (WEBSOCKET_JSON, WEBSOCKET_PROTOBUF, formats.UNI_SSE)]
        for each in curious:
            subscribers.add(each, subscription(pushes_join_leave=True))
        other = FakeSubscriber()
        subscribers.add(other, subscription())
        subscribers.fan_out_member_event(Push(channel="room", join=Join(ClientInfo(user="7", client="c7"))))
        for each in curious:
            assert each.pushes == [{"channel": "room", "join": {"info": {"user": "7", "client": "c7"}}}]
        assert other.pushes == []


def test_the_end_of_a_subscription_reaches_each_one_and_they_may_leave_meanwhile() -> None:
    subscribers = Subscribers("news")
    everybody = [FakeSubscriber() for _ in range(3)]
    for each in everybody:
        subscribers.add(each, subscription())
    for subscriber, _ in subscribers:
        subscriber.owner.end_subscription("news", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
        subscribers.remove(subscriber)
    assert not subscribers and all(len(each.ended) == 1 for each in everybody)


@pytest.mark.parametrize("format", [formats.WEBSOCKET_JSON, formats.WEBSOCKET_PROTOBUF], ids=["json", "protobuf"])
def test_deltas_go_on_after_an_empty_publication(format: Format) -> None:
    """A namespace of binary data may have one. It is whole, and so is the next: nothing is shorter than what it is."""
    before, empty, after = [publication("x" * 90, 1), Publication(data=Raw(b""), offset=2), publication("x" * 90, 3)]
    made, _ = encoding.as_deltas(format, [before, empty, after])
    assert made[1] == empty and not made[2].delta
