"""Subscribing, from the command to the action: checks, tokens, options (reference 3.3, 3.4, 3.8-3.12)."""

from __future__ import annotations

from typing import Any

import pytest

from proto.messages import StreamPosition
from services.edge.channels.subscription import AttachRequest
from services.edge.grants import MAX_TTL_S
from services.edge.session.effects import Detach
from tests.edge.conversation import START, Conversation, anonymous, connected, said, token


def sub(channel: str, **request: Any) -> dict[str, Any]:
    return {"id": 2, "subscribe": {"channel": channel, **request}}


class TestChecks:
    """3.3."""

    def test_an_unknown_delta(self) -> None:
        assert connected().closed(sub("news", delta="xdelta")) == 3501
        connected().does(AttachRequest, sub("news", delta="fossil"))

    @pytest.mark.parametrize("channel", ["x" * 256, "x" * 300, "🎉", "open:🎉", "grüße", "a\nb", "\0", "open:"])
    def test_names_that_are_none(self, channel: str) -> None:
        assert connected().error(sub(channel)) == 107

    @pytest.mark.parametrize("channel", ["x" * 255, "a b", "a.b", "*", ">", "a.>", "~%", "open:a b.*>", "open:a:b"])
    def test_names_that_look_odd(self, channel: str) -> None:
        connected().does(AttachRequest, sub(channel))

    def test_a_namespace_may_have_its_own_rule_for_names(self) -> None:
        connected().does(AttachRequest, sub("word:grüße"))
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
        assert Detach(("news7",)) in client.says({"id": 9, "unsubscribe": {"channel": "news7"}})
        client.subscribed("one more")

    @pytest.mark.parametrize(("kind", "code"), [(1, 103), (2, 103), (3, 103), (4, 108), (-1, 103)])
    def test_other_types_of_subscriptions(self, kind: int, code: int) -> None:
        assert connected().error(sub("news", type=kind)) == code

    @pytest.mark.parametrize(
        "channel", ["closed:x", "$news", "$open:x", "#42", "open:x#42", "limited:x#7", "limited:x"]
    )
    def test_without_permission(self, channel: str) -> None:
        assert connected().error(sub(channel)) == 103

    def test_a_user_limited_channel(self) -> None:
        connected().does(AttachRequest, sub("limited:x#7,42"))
        assert anonymous().error(sub("limited:x#7,42")) == 103

    def test_anonymous(self) -> None:
        assert anonymous().error(sub("open:x")) == 103
        anonymous().does(AttachRequest, sub("all:x"))
        connected().does(AttachRequest, sub("all:x"))

    def test_a_tags_filter(self) -> None:
        exists = {"key": "a", "cmp": "ex"}
        assert connected().error(sub("news", tf=exists)) == 107, "it is not allowed there"
        connected().does(AttachRequest, sub("news", tf=None))
        assert connected().error(sub("tags:x", tf={"op": "and"})) == 107, "it is none"
        wanted = connected().subscribed("tags:x", tf=exists).subscription.filter
        assert wanted is not None and wanted({"a": ""}) and not wanted({"b": ""})

    def test_they_come_in_the_order_of_the_reference(self) -> None:
        """Each request breaks the rule of its line and every later one."""
        late = {"tf": {"key": "a"}, "type": 1}
        long = "x" * 256
        assert connected(channel_limit=1).closed(sub("", delta="no", **late)) == 3501
        assert connected(channel_limit=1).closed(sub(long, delta="no", **late)) == 3501
        full = connected(channel_limit=1, channel_max_length=20)
        full.subscribed("closed:🎉"[:6])
        full.state.channels[long] = full.state.channels["closed"]
        assert full.error(sub(long, **late)) == 107
        assert full.error(sub("closed", **late)) == 105
        assert full.error(sub("none:🎉", **late)) == 106
        assert connected().error(sub("none:🎉", **late)) == 102
        assert connected().error(sub("closed:🎉", **late)) == 107
        assert connected().error(sub("closed:x", tf={"key": "a"}, type=4)) == 108
        assert connected().error(sub("closed:x", tf={"key": "a"})) == 103
        assert connected().error(sub("open:x", tf={"key": "a"})) == 107

    def test_where_everything_is_allowed_names_are_checked_all_the_same(self) -> None:
        client = anonymous(insecure=True)
        for channel in ("closed:x", "$private", "log:x", "limited:x#7", "open:x#7"):
            client.subscribed(channel)
        assert client.error(sub("none:x")) == 102
        assert client.error(sub("🎉")) == 107


class TestWishes:
    """3.4 and 3.10: options that the namespace forces, and those that the client may ask for."""

    OPTIONS: dict[str, Any] = {"positioned": True, "recoverable": True, "recover": True, "offset": 7, "epoch": "e"}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("channel", "options", "positioned", "recoverable", "recover"),
        [
            ("news", OPTIONS, False, False, None),
            ("log:x", {}, True, True, None),
            ("log:x", {"recover": True}, True, True, StreamPosition(0, "")),
            ("log:x", {"recover": True, "offset": 7, "epoch": "e"}, True, True, StreamPosition(7, "e")),
            ("log:x", {"offset": 7, "epoch": "e"}, True, True, None),
            ("mayrec:x", {}, False, False, None),
            ("mayrec:x", OPTIONS, True, True, StreamPosition(7, "e")),
            ("mayrec:x", {"recoverable": True}, True, True, None),
            ("mayrec:x", {"positioned": True}, True, False, None),
            ("hist:x", OPTIONS, True, True, StreamPosition(7, "e")),
            ("members:x", OPTIONS, False, False, None),
            ("nohist:x", OPTIONS, False, False, None),
        ],
    )
    def test_position_and_recovery(
        self, channel: str, options: dict[str, Any], positioned: bool, recoverable: bool, recover: StreamPosition | None
    ) -> None:
        action = connected().subscribed(channel, **options)
        subscription = action.subscription
        assert (subscription.positioned, subscription.recoverable, action.recover) == (positioned, recoverable, recover)

    @pytest.mark.parametrize(("flag", "reject"), [(0, False), (1, False), (2, True), (3, True)])
    def test_a_client_may_ask_for_an_error_instead_of_a_failed_recovery(self, flag: int, reject: bool) -> None:
        assert connected().subscribed("log:x", flag=flag).reject_unrecovered is reject

    @pytest.mark.parametrize(
        ("channel", "requested", "pushed"),
        [
            ("seen:x", True, True),
            ("seen:x", False, False),
            ("inside:x", True, True),
            ("counted:x", True, False),
            ("forced:x", False, True),
            ("news", True, False),
        ],
    )
    def test_joins_and_leaves_for_those_who_may_have_them(self, channel: str, requested: bool, pushed: bool) -> None:
        """`inside` lets subscribers read presence, `counted` tells no one of joins, `forced` tells everyone."""
        assert connected().subscribed(channel, join_leave=requested).subscription.pushes_join_leave is pushed

    def test_a_client_that_may_not_read_presence_is_refused(self) -> None:
        client = Conversation()
        client.hears({"id": 1, "connect": {"token": token(sub="")}})
        stranger = token(sub="", channel="seen:x")
        assert not client.subscribed("seen:x", join_leave=True, token=stranger).subscription.pushes_join_leave

    @pytest.mark.parametrize(
        ("channel", "request_", "delta"),
        [
            ("diff:x", {"delta": "fossil"}, True),
            ("diff:x", {}, False),
            ("diff:x", {"delta": "fossil", "tf": {"key": "a", "cmp": "ex"}}, False),
            ("log:x", {"delta": "fossil"}, False),
            ("news", {"delta": "fossil"}, False),
        ],
    )
    def test_a_delta_is_granted_or_declined_and_no_error(
        self, channel: str, request_: dict[str, Any], delta: bool
    ) -> None:
        assert connected().subscribed(channel, **request_).subscription.delta is delta

    @pytest.mark.parametrize(
        ("channel", "seen"), [("seen:x", True), ("counted:x", True), ("forced:x", True), ("news", 0)]
    )
    def test_who_is_seen(self, channel: str, seen: bool) -> None:
        member = connected().subscribed(channel).subscription.member
        assert (member is not None) == bool(seen)
        assert member is None or (member.user, member.client) == ("42", "c1")


class TestSubscriptionTokens:
    """3.9."""

    def test_a_token_is_enough(self) -> None:
        for channel in ("closed:x", "$news", "$open:x", "limited:x#7"):
            action = connected().subscribed(channel, token=token(channel=channel))
            assert (action.ttl, action.subscription.server_side) == (0, False)

    def test_it_says_on_which_terms(self) -> None:
        claims = {"info": {"role": "host"}, "data": {"topic": 1}, "override": {"join_leave": {"value": True}}}
        action = connected().subscribed("closed:x", token=token(channel="closed:x", exp=START + 60, **claims))
        assert (bytes(action.data), action.ttl) == (b'{"topic":1}', 60)
        assert action.subscription.expires_at == START + 60
        member = action.subscription.member
        assert member is not None and bytes(member.chan_info) == b'{"role":"host"}'
        assert action.subscription.emits_join_leave

    def test_expire_at_wins_over_exp(self) -> None:
        def wanted(**claims: Any) -> AttachRequest:
            return connected().subscribed("closed:x", token=token(channel="closed:x", exp=START + 60, **claims))

        assert wanted(expire_at=START + 90).ttl == 90
        assert (wanted(expire_at=0).ttl, wanted(expire_at=0).subscription.expires_at) == (0, 0)
        assert wanted(expire_at=START + 1.5).ttl == 1
        assert wanted(expire_at=START + 10 * MAX_TTL_S).ttl == MAX_TTL_S, "SDK timers take no more"

    @pytest.mark.parametrize("forged", ["x", "a.b.c", token(channel="closed:x") + "x", token(), token(channel="")])
    def test_a_forged_token(self, forged: str) -> None:
        assert connected().error(sub("closed:x", token=forged)) == 103

    def test_a_forged_token_where_none_is_needed(self) -> None:
        assert connected().error(sub("open:x", token="x")) == 103

    @pytest.mark.parametrize("expires", [START - 1, START, START + 0.5])
    def test_an_expired_token(self, expires: float) -> None:
        """The last fraction of a second counts as expired: the client fetches another token, and is not sent off."""
        assert connected().error(sub("closed:x", token=token(channel="closed:x", exp=expires))) == 109

    @pytest.mark.parametrize(
        "claims",
        [{"channel": "closed:y"}, {"channel": "closed:x", "sub": "7"}, {"channel": "closed:x", "client": "c2"}],
    )
    def test_a_token_of_another_channel_user_or_client(self, claims: dict[str, Any]) -> None:
        assert connected().closed(sub("closed:x", token=token(**claims))) == 3500

    def test_a_token_of_this_client(self) -> None:
        connected().subscribed("closed:x", token=token(channel="closed:x", client="c1"))

    def test_an_unknown_namespace(self) -> None:
        assert connected().error(sub("none:x", token=token(channel="none:x"))) == 102

    def test_for_somebody_without_a_user_id(self) -> None:
        anonymous().subscribed("closed:x", token=token(channel="closed:x", sub=""))
        assert anonymous().closed(sub("closed:x", token=token(channel="closed:x"))) == 3500


class TestUnsubscribe:
    """3.8."""

    def test_from_a_channel(self) -> None:
        client = connected()
        client.subscribed("news")
        effects = client.says({"id": 3, "unsubscribe": {"channel": "news"}})
        assert said(effects) == {"id": 3, "unsubscribe": {}}
        assert Detach(("news",)) in effects and client.state.channels == {}

    @pytest.mark.parametrize("channel", ["news", "none:x", "🎉", "x" * 300])
    def test_from_one_that_was_never_subscribed(self, channel: str) -> None:
        assert connected().hears({"id": 3, "unsubscribe": {"channel": channel}}) == {"unsubscribe": {}}
