"""Commands to actions: every check and code of the reference (client-protocol.md, sections 3.1 to 3.4, 3.7, 3.8)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from proto.messages import StreamPosition
from services.edge.actions import Answer, Nothing, Publish, ReadHistory, Subscribe, Unsubscribe
from tests.edge.clients import START, VERSION, Conversation, token

CONNECT = {"id": 1, "connect": {}}


def connected(**section: Any) -> Conversation:
    return Conversation(**section).connected()


def anonymous(**section: Any) -> Conversation:
    conversation = Conversation(**({"allow_anonymous_connect_without_token": True} | section))
    conversation.hears(CONNECT)
    return conversation


class TestBeforeConnect:
    """3.1 and 1.4."""

    @pytest.mark.parametrize(
        "command",
        [
            {},
            {"id": 1},
            {"connect": {}},
            {"send": {"data": 1}},
            {"id": 1, "subscribe": {"channel": "news"}},
            {"id": 1, "publish": {"channel": "news", "data": 1}},
            {"id": 1, "refresh": {"token": "t"}},
            {"id": 1, "ping": {}},
        ],
    )
    def test_any_other_command_ends_the_connection(self, command: dict[str, Any]) -> None:
        assert Conversation(insecure=True).closed(command) == 3501

    def test_a_second_connect_ends_it_too(self) -> None:
        assert connected().closed(CONNECT) == 3501

    def test_after_a_refused_connect_everything_is_ignored(self) -> None:
        refused = Conversation()
        assert refused.error({"id": 1, "connect": {"token": token(exp=START - 1)}}) == 109
        assert refused.says({"id": 2, "subscribe": {"channel": "news"}}) == Nothing()
        assert refused.says({}) == Nothing()
        assert refused.says({"id": 3, "connect": {"token": token()}}) == Nothing()


class TestConnect:
    """3.2."""

    def test_with_a_token(self) -> None:
        reply = Conversation().hears({"id": 1, "connect": {"token": token()}})
        assert reply == {"connect": {"client": "c1", "version": VERSION, "ping": 25, "pong": True}}

    def test_with_a_token_that_expires(self) -> None:
        result = Conversation().hears({"id": 1, "connect": {"token": token(exp=START + 60)}})["connect"]
        assert (result["expires"], result["ttl"]) == (True, 60)

    def test_ttl_is_a_second_at_least_and_a_year_at_most(self) -> None:
        for expires, ttl in ((START + 0.9, 1), (START + 10 * 365 * 86400, 365 * 86400)):
            claims = {"exp": START + 100, "expire_at": expires}
            assert Conversation().hears({"id": 1, "connect": {"token": token(**claims)}})["connect"]["ttl"] == ttl

    def test_without_pings_neither_ping_nor_pong_is_announced(self) -> None:
        result = Conversation(ping_interval=0).hears({"id": 1, "connect": {"token": token()}})["connect"]
        assert "ping" not in result
        assert "pong" not in result

    def test_with_an_expired_token(self) -> None:
        assert Conversation().error({"id": 1, "connect": {"token": token(exp=START)}}) == 109

    @pytest.mark.parametrize("forged", ["x", "a.b.c", token() + "x", token(channel="news"), token(sub=7)])
    def test_with_a_forged_token(self, forged: str) -> None:
        assert Conversation().closed({"id": 1, "connect": {"token": forged}}) == 3500

    def test_a_forged_token_does_not_become_anonymous(self) -> None:
        both = Conversation(allow_anonymous_connect_without_token=True)
        assert both.closed({"id": 1, "connect": {"token": "x"}}) == 3500

    def test_without_a_token(self) -> None:
        assert Conversation().closed(CONNECT) == 3501

    def test_without_a_token_where_that_is_allowed(self) -> None:
        assert anonymous().client.identity.user == ""

    def test_names_are_cut(self) -> None:
        conversation = anonymous()
        assert (conversation.client.name, conversation.client.version) == ("", "")
        conversation = Conversation(insecure=True)
        conversation.hears({"id": 1, "connect": {"name": "n" * 20, "version": "v" * 70}})
        assert (conversation.client.name, conversation.client.version) == ("n" * 16, "v" * 64)


class TestDispatch:
    """3.1."""

    @pytest.mark.parametrize("command", [{"id": 7}, {"id": 7, "ping": {}}, {"id": 7, "unknown": {}}])
    def test_no_request(self, command: dict[str, Any]) -> None:
        assert connected().closed(command) == 3501

    @pytest.mark.parametrize(
        "name",
        ["subscribe", "unsubscribe", "publish", "presence", "presence_stats", "history", "sub_refresh"],
    )
    @pytest.mark.parametrize("insecure", [True, False])
    def test_an_empty_channel(self, name: str, insecure: bool) -> None:
        assert connected(insecure=insecure).closed({"id": 7, name: {}}) == 3501

    @pytest.mark.parametrize("name", ["subscribe", "publish", "history", "rpc", "refresh"])
    def test_a_request_without_an_id_is_an_unasked_pong(self, name: str) -> None:
        assert connected().closed({name: {"channel": "news"}}) == 3501

    def test_what_nobody_handles(self) -> None:
        client = connected()
        client.subscribed("news")
        assert client.error({"id": 3, "rpc": {"method": "x", "data": 1}}) == 108
        assert client.error({"id": 4, "presence": {"channel": "news"}}) == 108
        assert client.error({"id": 5, "presence_stats": {"channel": "news"}}) == 108
        assert client.error({"id": 6, "presence": {"channel": "none:x"}}) == 102
        assert client.error({"id": 7, "sub_refresh": {"channel": "news", "token": "t"}}) == 108
        assert client.error({"id": 8, "sub_refresh": {"channel": "other", "token": "t"}}) == 103
        assert client.closed({"send": {"data": 1}}) == 3508


def sub(channel: str, **request: Any) -> dict[str, Any]:
    return {"id": 2, "subscribe": {"channel": channel, **request}}


class TestSubscribeChecks:
    """3.3."""

    def test_an_unknown_delta(self) -> None:
        assert connected().closed(sub("news", delta="xdelta")) == 3501
        assert isinstance(connected().says(sub("news", delta="fossil")), Subscribe)

    @pytest.mark.parametrize("channel", ["x" * 256, "x" * 300, "🎉", "open:🎉", "grüße", "a\nb", "\0", "open:"])
    def test_names_that_are_none(self, channel: str) -> None:
        assert connected().error(sub(channel)) == 107

    @pytest.mark.parametrize(
        "channel", ["x" * 255, "a b", "a.b", "*", ">", "a.>", "~%", "open:a b.*>", "open:a:b", "#42"]
    )
    def test_names_that_look_odd(self, channel: str) -> None:
        assert isinstance(connected().says(sub(channel)), Subscribe)

    def test_a_namespace_may_have_its_own_rule_for_names(self) -> None:
        assert isinstance(connected().says(sub("word:grüße")), Subscribe)
        assert connected().error(sub("word:a b")) == 107

    @pytest.mark.parametrize("channel", ["none:x", ":x", "Open:x", "$none:x"])
    def test_a_namespace_that_is_not_configured(self, channel: str) -> None:
        assert connected().error(sub(channel)) == 102

    def test_twice(self) -> None:
        client = connected()
        client.subscribed("news")
        assert client.error(sub("news")) == 105

    def test_too_many(self) -> None:
        client = connected()
        for number in range(128):
            client.subscribed(f"news{number}")
        assert client.error(sub("one more")) == 106
        assert isinstance(client.says({"id": 9, "unsubscribe": {"channel": "news7"}}), Unsubscribe)

    @pytest.mark.parametrize(("kind", "code"), [(1, 103), (2, 103), (3, 103), (4, 108), (-1, 103)])
    def test_other_types_of_subscriptions(self, kind: int, code: int) -> None:
        assert connected().error(sub("news", type=kind)) == code

    @pytest.mark.parametrize("channel", ["closed:x", "$news", "$open:x"])
    def test_without_permission(self, channel: str) -> None:
        assert connected().error(sub(channel)) == 103

    def test_anonymous(self) -> None:
        assert anonymous().error(sub("open:x")) == 103
        assert isinstance(anonymous().says(sub("all:x")), Subscribe)
        assert isinstance(connected().says(sub("all:x")), Subscribe)

    def test_a_tags_filter(self) -> None:
        assert connected().error(sub("news", tf={"key": "a", "cmp": "ex"})) == 107
        assert isinstance(connected().says(sub("news", tf=None)), Subscribe)

    def test_they_come_in_the_order_of_the_reference(self) -> None:
        """Each request breaks the rule of its line and every later one."""
        late = {"tf": {"key": "a"}, "type": 1}
        long = "x" * 256
        assert connected(channel_limit=1).closed(sub("", delta="no", **late)) == 3501
        assert connected(channel_limit=1).closed(sub(long, delta="no", **late)) == 3501
        full = connected(channel_limit=1, channel_max_length=20)
        full.subscribed("closed:🎉"[:6])
        full.client.channels[long] = full.client.channels["closed"]
        assert full.error(sub(long, **late)) == 107
        assert full.error(sub("closed", **late)) == 105
        assert full.error(sub("none:🎉", **late)) == 106
        assert connected().error(sub("none:🎉", **late)) == 102
        assert connected().error(sub("closed:🎉", **late)) == 107
        assert connected().error(sub("closed:x", tf={"key": "a"}, type=4)) == 108
        assert connected().error(sub("closed:x", tf={"key": "a"})) == 103
        assert connected().error(sub("open:x", tf={"key": "a"})) == 107


class TestSubscribeWishes:
    """3.4 and 3.10: what the namespace forces, what the client may ask for."""

    WISHES: dict[str, Any] = {"positioned": True, "recoverable": True, "recover": True, "offset": 7, "epoch": "e"}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("channel", "wishes", "positioned", "recoverable", "recover"),
        [
            ("news", WISHES, False, False, None),
            ("log:x", {}, True, True, None),
            ("log:x", {"recover": True}, True, True, StreamPosition(0, "")),
            ("log:x", {"recover": True, "offset": 7, "epoch": "e"}, True, True, StreamPosition(7, "e")),
            ("log:x", {"offset": 7, "epoch": "e"}, True, True, None),
            ("mayrec:x", {}, False, False, None),
            ("mayrec:x", WISHES, True, True, StreamPosition(7, "e")),
            ("mayrec:x", {"positioned": True}, True, False, None),
            ("hist:x", WISHES, True, True, StreamPosition(7, "e")),
            ("members:x", WISHES, False, False, None),
            ("nohist:x", WISHES, False, False, None),
        ],
    )
    def test_position_and_recovery(
        self, channel: str, wishes: dict[str, Any], positioned: bool, recoverable: bool, recover: StreamPosition | None
    ) -> None:
        action = connected().subscribed(channel, **wishes)
        assert (action.positioned, action.recoverable, action.recover) == (positioned, recoverable, recover)

    @pytest.mark.parametrize(("flag", "reject"), [(0, False), (1, False), (2, True), (3, True)])
    def test_who_wants_an_error_instead_of_a_failed_recovery(self, flag: int, reject: bool) -> None:
        assert connected().subscribed("log:x", flag=flag).reject_unrecovered is reject


class TestUnsubscribe:
    """3.8."""

    def test_from_a_channel(self) -> None:
        client = connected()
        client.subscribed("news")
        action = client.says({"id": 3, "unsubscribe": {"channel": "news"}})
        assert isinstance(action, Unsubscribe)
        assert (action.channel, msgspec.json.encode(action.reply)) == ("news", b'{"id":3,"unsubscribe":{}}')

    @pytest.mark.parametrize("channel", ["news", "none:x", "🎉", "x" * 300])
    def test_from_one_that_was_never_subscribed(self, channel: str) -> None:
        action = connected().says({"id": 3, "unsubscribe": {"channel": channel}})
        assert isinstance(action, Answer)
        assert msgspec.json.encode(action.reply) == b'{"id":3,"unsubscribe":{}}'


def pub(channel: str, **request: Any) -> dict[str, Any]:
    return {"id": 3, "publish": {"channel": channel, "data": {"a": 1}} | request}


class TestPublish:
    """3.8."""

    def test_with_permission(self) -> None:
        action = connected().says(pub("open:x"))
        assert isinstance(action, Publish)
        assert (action.channel, bytes(action.data)) == ("open:x", b'{"a": 1}')
        assert (action.info.user, action.info.client) == ("42", "c1")

    def test_who_published_is_told_with_the_info_of_the_token(self) -> None:
        action = Conversation().connected(info={"name": "Jo"}).says(pub("open:x"))
        assert isinstance(action, Publish)
        assert bytes(action.info.conn_info) == b'{"name":"Jo"}'

    @pytest.mark.parametrize("channel", ["news", "closed:x", "talk:x"])
    def test_without_permission(self, channel: str) -> None:
        assert connected().error(pub(channel)) == 103

    def test_as_a_subscriber(self) -> None:
        client = connected()
        client.subscribed("talk:x")
        assert isinstance(client.says(pub("talk:x")), Publish)
        assert client.error(pub("talk:y")) == 103

    def test_anonymous(self) -> None:
        assert anonymous().error(pub("open:x")) == 103
        action = anonymous().says(pub("all:x"))
        assert isinstance(action, Publish)
        assert action.info.user == ""

    def test_names(self) -> None:
        assert connected().error(pub("none:x")) == 102
        assert connected().error(pub("open:🎉")) == 107
        assert connected().error(pub("open:" + "x" * 300)) == 107

    def test_no_data(self) -> None:
        assert connected().error({"id": 3, "publish": {"channel": "open:x"}}) == 107

    @pytest.mark.parametrize("data", [None, 0, "", [], {}])
    def test_data_that_is_false_is_data(self, data: object) -> None:
        assert isinstance(connected().says(pub("open:x", data=data)), Publish)

    def test_of_the_map_kind(self) -> None:
        assert connected().error(pub("open:x", type=1)) == 108


def history(channel: str, **request: Any) -> dict[str, Any]:
    return {"id": 4, "history": {"channel": channel, **request}}


class TestHistory:
    """3.8."""

    @pytest.mark.parametrize(
        ("asked", "read"), [(None, 0), (0, 0), (5, 5), (300, 300), (301, 300), (-1, 300), (-9, 300)]
    )
    def test_limits(self, asked: int | None, read: int) -> None:
        action = connected().says(history("hist:x", **({} if asked is None else {"limit": asked})))
        assert isinstance(action, ReadHistory)
        assert (action.limit, action.since, action.reverse) == (read, None, False)

    def test_since_a_position(self) -> None:
        action = connected().says(history("hist:x", since={"offset": 3, "epoch": "e"}, reverse=True))
        assert isinstance(action, ReadHistory)
        assert (action.since, action.reverse) == (StreamPosition(3, "e"), True)

    def test_backwards_from_the_beginning(self) -> None:
        assert connected().error(history("hist:x", since={"epoch": "e"}, reverse=True)) == 107
        assert isinstance(connected().says(history("hist:x", since={"epoch": "e"})), ReadHistory)
        assert isinstance(connected().says(history("hist:x", reverse=True)), ReadHistory)

    @pytest.mark.parametrize(("channel", "code"), [("news", 108), ("nohist:x", 108), ("log:x", 103), ("none:x", 102)])
    def test_where_there_is_none_to_read(self, channel: str, code: int) -> None:
        assert connected().error(history(channel, limit=1)) == code

    def test_for_subscribers(self) -> None:
        client = connected()
        assert client.error(history("members:x")) == 103
        client.subscribed("members:x")
        assert isinstance(client.says(history("members:x")), ReadHistory)


class TestInsecure:
    """3.10: for tests, everything is allowed."""

    def test_everything_is_allowed(self) -> None:
        client = anonymous(insecure=True)
        for channel in ("closed:x", "$private", "log:x"):
            assert isinstance(client.says(sub(channel)), Subscribe)
            assert isinstance(client.says(pub(channel)), Publish)
        assert isinstance(client.says(history("log:x")), ReadHistory)

    def test_rules_for_names_hold_all_the_same(self) -> None:
        assert anonymous(insecure=True).error(sub("none:x")) == 102
        assert anonymous(insecure=True).error(sub("🎉")) == 107

    def test_tokens_do_not_expire_but_are_not_forged_either(self) -> None:
        result = Conversation(insecure=True).hears({"id": 1, "connect": {"token": token(exp=1)}})["connect"]
        assert "expires" not in result
        assert Conversation(insecure=True).closed({"id": 1, "connect": {"token": token()[:-2]}}) == 3500


def test_data_is_handed_on_byte_for_byte() -> None:
    action = connected().says(pub("open:x", data="ü"))
    assert isinstance(action, Publish)
    assert action.data == Raw(b'"\\u00fc"')
