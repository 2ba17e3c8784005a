"""Limits on commands: for each connection, each user and each user in a namespace, and the answers beyond them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from proto.replies import PublishResult
from services.chassis.process.settings import Rate
from services.edge.channel_settings import ChannelOptions, ChannelSection, Namespace
from services.edge.channels.namespaces import Namespaces
from services.edge.channels.subscription import AttachRequest
from services.edge.client_settings import ClientSection
from services.edge.limit_settings import NO_LIMITS, LimitsSection
from services.edge.session.actions import AskHook, Publish
from services.edge.session.allowances import WITHIN, Allowances
from services.edge.session.outcomes import Replied
from tests.edge.conversation import START, Conversation, anonymous, closed_by, error_in, logged, started_or_none
from tests.support.namespaces import rules_of

FEW = Rate(2, 10)


def limits(**rates: Rate) -> LimitsSection:
    return replace(NO_LIMITS, **rates)


def publishing(number: int, data: Any = "x", channel: str = "open:x") -> dict[str, Any]:
    return {"id": number, "publish": {"channel": channel, "data": data}}


def publishes(conversation: Conversation, number: int, data: Any = "x") -> bool:
    """Whether it may publish; otherwise it is told 111."""
    effects = conversation.says(publishing(number, data))
    action = started_or_none(effects)
    if isinstance(action, Publish):
        conversation.completes(action, Replied(PublishResult()))
        return True
    assert error_in(effects) == 111
    return False


class TestAnswers:
    def test_a_command_beyond_the_limit_is_told_so_and_may_come_again(self) -> None:
        alice = Conversation(limits=limits(commands=Rate(5, 10)), channel_limit=1).connected()
        assert [publishes(alice, number) for number in range(2, 9)] == [True] * 5 + [False] * 2
        assert "client has reached limits.commands" in logged(alice.effects)
        alice.now += 2.0
        assert [publishes(alice, number) for number in range(9, 11)] == [True, False]
        assert alice.state.policy.allowances.refused == {"limits.commands": 3}

    def test_every_command_counts(self) -> None:
        alice = Conversation(limits=limits(commands=FEW), channel_limit=1).connected()
        alice.hears({"id": 2, "unsubscribe": {"channel": "open:x"}})
        assert alice.error({"id": 3, "history": {"channel": "open:x"}}) == 108
        commands: list[dict[str, Any]] = [
            {"rpc": {"method": "x"}},
            {"subscribe": {"channel": "open:x"}},
            {"publish": {"channel": "open:x", "data": 1}},
            {"history": {"channel": "log:x"}},
            {"presence": {"channel": "seen:x"}},
            {"presence_stats": {"channel": "seen:x"}},
            {"refresh": {"token": "t"}},
            {"sub_refresh": {"channel": "open:x", "token": "t"}},
        ]
        for number, command in enumerate(commands, 4):
            assert alice.error({"id": number, **command}) == 111

    @pytest.mark.parametrize("command", [{"send": {"data": 1}}, {"id": 9, "unsubscribe": {"channel": "open:x"}}])
    def test_where_an_error_would_be_unheard_or_end_the_connection_anyway_it_ends_with_a_code(self, command) -> None:
        """SDKs give a connection up whose unsubscribe fails, and a send has no answer."""
        alice = Conversation(limits=limits(commands=FEW), channel_limit=1, allow_send=True).connected()
        alice.says({"send": {"data": 1}})
        alice.says({"send": {"data": 1}})
        assert closed_by(alice.says(command)) == 3013

    def test_a_subscribe_beyond_the_limit_needs_no_token_to_be_read(self) -> None:
        alice = Conversation(limits=limits(subscribes=FEW), channel_limit=2).connected()
        for number, channel in enumerate(("open:a", "open:b"), 2):
            action = alice.does(AttachRequest, {"id": number, "subscribe": {"channel": channel}})
            alice.entered(action)
            alice.hears({"id": 10 + number, "unsubscribe": {"channel": channel}})
        forged = {"id": 4, "subscribe": {"channel": "$open:c", "token": "forged"}}
        assert alice.error(forged) == 111
        alice.now += 10
        assert alice.error(forged) == 103

    def test_a_publish_beyond_the_limit_asks_no_hook(self) -> None:
        alice = Conversation(limits=limits(publishes=Rate(1, 10))).connected()
        alice.fails(alice.does(AskHook, publishing(2, channel="asked:x")))
        assert alice.error(publishing(3, channel="asked:x")) == 111

    def test_a_publish_by_rpc_is_a_publish(self) -> None:
        alice = Conversation(limits=limits(publishes=Rate(1, 10))).connected()
        data = {"channel": "open:x", "idempotency_key": "k", "data": 1}
        alice.fails(alice.does(Publish, {"id": 2, "rpc": {"method": "fairlead.publish", "data": data}}))
        assert alice.error(publishing(3)) == 111


class TestBytes:
    def test_published_bytes_are_the_data_s(self) -> None:
        alice = Conversation(limits=limits(published_bytes=Rate(70_000, 10)), channel_limit=1).connected()
        assert publishes(alice, 2, "x" * 60_000)
        assert publishes(alice, 3, "x" * 9_000)
        assert not publishes(alice, 4, "x" * 2_000)
        assert publishes(alice, 5, "x" * 500), "what is smaller still fits"

    def test_a_message_that_is_not_too_large_can_always_be_published(self) -> None:
        alice = Conversation(limits=limits(published_bytes=Rate(1_000, 1)), channel_limit=1).connected()
        assert publishes(alice, 2, "x" * 65_000)
        alice.now += 64
        assert not publishes(alice, 3, "x" * 65_000)
        alice.now += 1
        assert publishes(alice, 4, "x" * 65_000)


class TestWhoPays:
    def allowances(self, **rates: Rate) -> Allowances:
        return Allowances(limits(**rates), ClientSection(channel_limit=1), ChannelSection())

    def test_connections_of_a_user_share_what_is_the_user_s(self) -> None:
        shared = self.allowances(user_publishes=FEW)
        rules = rules_of("open:x")
        taken = [shared.publish(client, "alice", rules, 1, START) for client in ("c1", "c2", "c3")]
        assert taken == [WITHIN, WITHIN, "limits.user_publishes"]
        assert shared.publish("c4", "bob", rules, 1, START) == WITHIN

    def test_a_new_connection_does_not_make_a_new_user(self) -> None:
        shared = self.allowances(user_commands=FEW)
        taken = [shared.command(f"c{number}", "alice", START) for number in range(4)]
        assert taken == [WITHIN, WITHIN, "limits.user_commands", "limits.user_commands"]

    @pytest.mark.parametrize(
        ("limit", "amount"),
        [("user_subscribes", 1), ("user_published_bytes", 65536)],
    )
    def test_so_it_is_with_subscribes_and_bytes(self, limit: str, amount: int) -> None:
        shared = self.allowances(**{limit: Rate(amount, 10)})
        rules = rules_of("open:x")

        def take(client: str) -> str:
            if limit == "user_subscribes":
                return shared.subscribe(client, "alice", rules, START)
            return shared.publish(client, "alice", rules, 65536, START)

        assert [take("c1"), take("c2")] == [WITHIN, f"limits.{limit}"]

    def test_anonymous_clients_count_by_address_and_are_no_user_of_that_name(self) -> None:
        one = anonymous(address="192.0.2.1", limits=limits(user_commands=FEW))
        two = anonymous(address="192.0.2.2", limits=limits(user_commands=FEW))
        assert one.state.account != two.state.account != "192.0.2.2"
        named = Conversation().connected(sub="192.0.2.1")
        assert named.state.account == "192.0.2.1"

    def test_without_an_address_only_the_connection_is_limited(self) -> None:
        assert anonymous().state.account == ""


class TestNamespaces:
    CHAT = Namespace(
        name="chat",
        allow_publish_for_client=True,
        publish_rate_limit=FEW,
        publish_bytes_rate_limit=Rate(100_000, 10),
        subscribe_rate_limit=FEW,
    )
    CHANNEL = ChannelSection(without_namespace=ChannelOptions(allow_publish_for_client=True), namespaces=[CHAT])

    def shared(self) -> Allowances:
        return Allowances(NO_LIMITS, ClientSection(channel_limit=1), self.CHANNEL)

    def test_a_namespace_has_limits_of_its_own_for_each_user(self) -> None:
        alice = Conversation(channel=self.CHANNEL).connected()
        for number in (2, 3):
            alice.fails(alice.does(Publish, publishing(number, channel=f"chat:{number}")))
        assert alice.error(publishing(4, channel="chat:x")) == 111
        alice.fails(alice.does(Publish, publishing(5, channel="news")))
        alice.now += 5
        alice.fails(alice.does(Publish, publishing(6, channel="chat:x")))

    def test_the_connections_of_a_user_share_them(self) -> None:
        shared, chat = self.shared(), Namespaces(self.CHANNEL).rules("chat:x")
        assert [shared.publish(client, "alice", chat, 1, START) for client in ("c1", "c2", "c3")][2] == (
            "publish_rate_limit"
        )
        assert [shared.subscribe(client, "alice", chat, START) for client in ("c1", "c2", "c3")][2] == (
            "subscribe_rate_limit"
        )

    def test_bytes_of_a_namespace(self) -> None:
        shared, chat = self.shared(), Namespaces(self.CHANNEL).rules("chat:x")
        assert shared.publish("c1", "alice", chat, 60_000, START) == WITHIN
        assert shared.publish("c2", "alice", chat, 60_000, START) == "publish_bytes_rate_limit"


class TestRefusals:
    """What is refused costs nothing, whichever limit refuses it."""

    NAMESPACE = ChannelSection(
        without_namespace=ChannelOptions(
            allow_publish_for_client=True,
            publish_rate_limit=Rate(1, 1000),
            publish_bytes_rate_limit=Rate(65536, 1000),
            subscribe_rate_limit=Rate(1, 1000),
        )
    )

    @pytest.mark.parametrize("narrow", ["bytes", "user_publishes", "user_bytes", "publish_rate_limit", "bytes_rate"])
    def test_a_publish_that_a_later_limit_refuses(self, narrow: str) -> None:
        wide, much = Rate(10, 1000), Rate(655360, 1000)
        shared = Allowances(
            limits(
                publishes=wide,
                user_publishes=Rate(1, 1000) if narrow == "user_publishes" else wide,
                published_bytes=Rate(65536, 1000) if narrow == "bytes" else much,
                user_published_bytes=Rate(65536, 1000) if narrow == "user_bytes" else much,
            ),
            ClientSection(channel_limit=1),
            self.NAMESPACE if narrow in ("publish_rate_limit", "bytes_rate") else ChannelSection(),
        )
        rules = (
            rules_of("open:x")
            if narrow not in ("publish_rate_limit", "bytes_rate")
            else (Namespaces(self.NAMESPACE).rules("x"))
        )
        assert shared.publish("c1", "alice", rules, 65536, START) == WITHIN
        refused = {shared.publish("c1", "alice", rules, 65536, START) for _ in range(100)}
        assert len(refused) == 1 and WITHIN not in refused, "it is always the same limit that refuses"

    def test_a_command_and_a_subscribe_that_a_later_limit_refuses(self) -> None:
        shared = Allowances(
            limits(commands=Rate(10, 1000), user_commands=FEW, subscribes=Rate(10, 1000), user_subscribes=FEW),
            ClientSection(channel_limit=1),
            ChannelSection(),
        )
        rules = rules_of("open:x")
        assert {shared.command("c1", "alice", START) for _ in range(100)} == {WITHIN, "limits.user_commands"}
        assert {shared.subscribe("c1", "alice", rules, START) for _ in range(100)} == {WITHIN, "limits.user_subscribes"}
        narrow = Allowances(limits(subscribes=Rate(10, 1000)), ClientSection(channel_limit=1), self.NAMESPACE)
        rules = Namespaces(self.NAMESPACE).rules("x")
        assert {narrow.subscribe("c1", "alice", rules, START) for _ in range(100)} == {WITHIN, "subscribe_rate_limit"}


class TestReconnects:
    @pytest.mark.parametrize("channels", [128, 5000])
    def test_a_client_with_all_its_subscriptions_always_comes_back(self, channels: int) -> None:
        """Even with limits below that: in the long run they hold."""
        low = LimitsSection(
            commands=Rate(10, 1), user_commands=Rate(10, 1), subscribes=Rate(10, 1), user_subscribes=Rate(10, 1)
        )
        shared, rules = Allowances(low, ClientSection(channel_limit=channels), ChannelSection()), rules_of("open:x")
        for _ in range(channels):
            assert shared.command("c1", "alice", START) == shared.subscribe("c1", "alice", rules, START) == WITHIN
        assert shared.subscribe("c1", "alice", rules, START) == "limits.subscribes"


class TestOtherLimits:
    CHANNEL = ChannelSection(namespaces=[Namespace(name="open", publish_rate_limit=FEW)])

    def test_limits_that_stay_the_same_keep_their_buckets(self) -> None:
        client = ClientSection(channel_limit=1)
        shared = Allowances(limits(commands=FEW), client, self.CHANNEL)
        more = ChannelSection(namespaces=[*self.CHANNEL.namespaces, Namespace(name="more")])
        assert shared.renewed(limits(commands=FEW), client, more) is shared

    def test_others_begin_with_full_buckets_and_go_on_counting(self) -> None:
        client = ClientSection(channel_limit=1)
        shared = Allowances(limits(publishes=FEW), client, ChannelSection())
        rules = rules_of("open:x")
        while shared.publish("c1", "", rules, 1, START) == WITHIN:
            pass
        renewed = shared.renewed(limits(publishes=FEW), client, self.CHANNEL)
        assert renewed.publish("c1", "", rules, 1, START) == WITHIN
        while renewed.publish("c1", "", rules, 1, START) == WITHIN:
            pass
        assert renewed.refused.total() == 2
