"""Questions to a backend that decides on a command, and the effect of its answer (reference 3.2, 3.7 and 3.8)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from proto.codes import CloseCode, ErrorCode
from proto.events import Refreshed
from proto.publications import Version
from services.chassis.process.settings import Duration
from services.edge.backend import hook_results
from services.edge.channel_settings import ChannelSection, Namespace
from services.edge.channels.subscription import AttachRequest
from services.edge.framing import formats
from services.edge.grants import Grant, Override, Switch
from services.edge.session.actions import AskHook, Connect, Publish
from services.edge.session.effects import LogRefusal, Record, Reschedule
from tests.edge.conversation import START, Conversation, closed_by, error_in, refused_by, said, started, token

CONNECT: dict[str, Any] = {
    "id": 1,
    "connect": {"data": {"ticket": 7}, "name": "js", "version": "5", "headers": {"x-forwarded-for": "::1"}},
}
BANNED = hook_results.Disconnected(CloseCode(4501, "banned"))
ASKED = ChannelSection(
    namespaces=[
        Namespace(name="asked", publish_hook=True),
        Namespace(name="asked_and_kept", publish_hook=True, history_size=10, history_ttl=Duration(60)),
        Namespace(
            name="now", subscribe_hook=True, history_size=1, history_ttl=Duration(60), force_recovery_mode="cache"
        ),
    ]
)
NOT_YOURS = hook_results.Refused(ErrorCode(403, "not yours"))


def hooked(**section: Any) -> Conversation:
    return Conversation(connect_hook=True, **section)


class TestConnect:
    def test_a_client_without_a_token_is_asked_about(self) -> None:
        asked, question = hooked(hook_timeout=2).asks(CONNECT)
        assert question == {
            "client": "c1",
            "transport": "websocket",
            "protocol": "json",
            "encoding": "json",
            **CONNECT["connect"],
        }
        assert (asked.event, asked.timeout_s, asked.allow_when_away) == ("connect", 2, False)
        asked, question = hooked(hook_when_away="allow", format=formats.SSE).asks({"id": 1, "connect": {}})
        assert asked.allow_when_away and question["transport"] == "sse"

    def test_a_token_speaks_for_itself(self) -> None:
        assert "connect" in hooked().hears({"id": 1, "connect": {"token": token()}})
        assert hooked().closed({"id": 1, "connect": {"token": "x"}}) == 3500

    def test_the_backend_names_the_user_it_admits(self) -> None:
        conversation = hooked()
        asked, _ = conversation.asks(CONNECT)
        result = hook_results.Admitted(
            user="7", expires_at=int(START) + 60, info=Raw(b'{"n":1}'), data=Raw(b'{"hello":1}'), meta=Raw(b'{"m":2}')
        )
        reply = said(conversation.decided(asked, result))["connect"]
        assert (reply["data"], reply["expires"], reply["ttl"]) == ({"hello": 1}, True, 60)
        state = conversation.state
        assert (state.caller.user, bytes(state.caller.meta)) == ("7", b'{"m":2}')
        assert bytes(state.info().conn_info) == b'{"n":1}'

    def test_with_the_channels_that_the_backend_says(self) -> None:
        conversation = hooked()
        asked, _ = conversation.asks(CONNECT)
        subs = {"closed:x": Grant(data=Raw(b"1")), "open:y": Grant()}
        action = started(conversation.decided(asked, hook_results.Admitted(user="7", subs=subs)))
        assert isinstance(action, Connect)
        assert [(each.channel, bytes(each.data)) for each in action.requests] == [("closed:x", b"1"), ("open:y", b"")]
        assert all(each.subscription.server_side for each in action.requests)

    def test_the_limit_of_connections_holds_here_too(self) -> None:
        conversation = hooked(user_connection_limit=1)
        conversation.connections["7"] = 1
        asked, _ = conversation.asks(CONNECT)
        assert closed_by(conversation.decided(asked, hook_results.Admitted(user="7"))) == 3504

    def test_the_backend_may_set_another_limit_for_this_user(self) -> None:
        for connections, its_own, may in ((2, 3, True), (3, 3, False), (2, 0, False)):
            conversation = hooked(user_connection_limit=1)
            conversation.connections["7"] = connections
            asked, _ = conversation.asks(CONNECT)
            effects = conversation.decided(asked, hook_results.Admitted(user="7", connection_limit=its_own))
            assert "connect" in said(effects) if may else closed_by(effects) == 3504

    def test_an_admission_that_has_expired_already(self) -> None:
        conversation = hooked()
        asked, _ = conversation.asks(CONNECT)
        assert error_in(conversation.decided(asked, hook_results.Admitted(user="7", expires_at=int(START)))) == 110

    def test_nobody_that_the_backend_knows(self) -> None:
        for anonymous in (True, False):
            conversation = hooked(allow_anonymous_connect_without_token=anonymous)
            asked, _ = conversation.asks(CONNECT)
            effects = conversation.decided(asked, hook_results.Unauthenticated())
            if anonymous:
                assert "connect" in said(effects) and conversation.state.identity.user == ""
            else:
                assert closed_by(effects) == 3501
                why = "no token, the connect hook knows no user, and anonymous clients are not allowed"
                assert refused_by(effects) == ("connect", 3501, why)

    def test_refused_or_expelled(self) -> None:
        conversation = hooked()
        asked, _ = conversation.asks(CONNECT)
        assert said(conversation.decided(asked, NOT_YOURS))["error"] == {"code": 403, "message": "not yours"}
        assert conversation.says({"id": 2, "rpc": {}}) == []
        conversation = hooked()
        asked, _ = conversation.asks(CONNECT)
        assert closed_by(conversation.decided(asked, BANNED)) == 4501

    def test_channels_beyond_the_limit_end_it_and_the_log_says_whose(self) -> None:
        conversation = hooked(channel_limit=2)
        asked, _ = conversation.asks(CONNECT)
        subs = {f"open:{number}": Grant() for number in range(3)}
        effects = conversation.decided(asked, hook_results.Admitted(user="7", subs=subs))
        assert closed_by(effects) == 3505
        (logged,) = [each for each in effects if isinstance(each, LogRefusal)]
        assert "3 channels" in logged.why and "client.channel_limit" in logged.why

    def test_a_subscription_may_begin_with_what_a_cache_holds(self) -> None:
        conversation = hooked(channel=ASKED)
        asked, _ = conversation.asks(CONNECT)
        subs = {"now:x": Grant(cache_recover=True), "now:y": Grant()}
        action = started(conversation.decided(asked, hook_results.Admitted(user="7", subs=subs)))
        assert isinstance(action, Connect)
        asking = {each.channel: (each.cache_recover, each.recover) for each in action.requests}
        assert asking == {"now:x": (True, None), "now:y": (False, None)}, "it is no recovery, which could fail"


class TestSubscribe:
    COMMAND: dict[str, Any] = {"id": 2, "subscribe": {"channel": "asked:x", "data": {"why": 1}}}  # noqa: RUF012

    def test_the_question(self) -> None:
        asked, question = Conversation().connected(meta={"m": 1}).asks(self.COMMAND)
        assert question == {
            "client": "c1",
            "transport": "websocket",
            "protocol": "json",
            "encoding": "json",
            "user": "42",
            "channel": "asked:x",
            "data": {"why": 1},
            "meta": {"m": 1},
        }
        assert (asked.event, asked.timeout_s, asked.allow_when_away) == ("subscribe", 2, False)
        assert Conversation().connected().asks({"id": 2, "subscribe": {"channel": "both:x"}})[0].allow_when_away

    def test_granted(self) -> None:
        conversation = Conversation().connected()
        asked, _ = conversation.asks(self.COMMAND)
        grant = Grant(
            info=Raw(b'{"role":"host"}'),
            data=Raw(b'{"topic":1}'),
            expires_at=int(START) + 30,
            override=Override(presence=Switch(True), force_recovery=Switch(True)),
        )
        action = started(conversation.decided(asked, grant))
        assert isinstance(action, AttachRequest)
        assert (action.command_id, action.channel, bytes(action.data), action.ttl) == (2, "asked:x", b'{"topic":1}', 30)
        subscription = action.subscription
        assert subscription.recoverable and subscription.positioned and not subscription.server_side
        assert subscription.member is not None and bytes(subscription.member.chan_info) == b'{"role":"host"}'

    @pytest.mark.parametrize("anonymous", [True, False])
    def test_the_backend_decides_for_everybody(self, anonymous: bool) -> None:
        conversation = Conversation(allow_anonymous_connect_without_token=True)
        conversation.hears({"id": 1, "connect": {"token": "" if anonymous else token()}})
        asked, question = conversation.asks(self.COMMAND)
        assert question["user"] == ("" if anonymous else "42")
        assert isinstance(started(conversation.decided(asked, Grant())), AttachRequest)

    def test_refused_or_expelled(self) -> None:
        conversation = Conversation().connected()
        asked, _ = conversation.asks(self.COMMAND)
        assert error_in(conversation.decided(asked, NOT_YOURS)) == 403
        asked, _ = conversation.asks(self.COMMAND)
        assert closed_by(conversation.decided(asked, BANNED)) == 4501

    def test_a_grant_that_has_expired_already(self) -> None:
        conversation = Conversation().connected()
        asked, _ = conversation.asks(self.COMMAND)
        assert error_in(conversation.decided(asked, Grant(expires_at=int(START)))) == 110

    def test_a_subscription_token_needs_no_backend(self) -> None:
        request = {"channel": "asked:x", "token": token(channel="asked:x")}
        Conversation().connected().does(AttachRequest, {"id": 2, "subscribe": request})

    def test_a_private_channel_needs_a_token_and_nothing_else(self) -> None:
        conversation = Conversation().connected()
        assert conversation.error({"id": 2, "subscribe": {"channel": "$asked:x"}}) == 103
        request = {"channel": "$asked:x", "token": token(channel="$asked:x")}
        conversation.does(AttachRequest, {"id": 2, "subscribe": request})

    def test_nobody_gets_around_the_backend_by_another_transport(self) -> None:
        uni = Conversation(format=formats.UNI_SSE)
        assert uni.closed({"id": 1, "connect": {"token": token(), "subs": {"both:x": {}}}}) == 3507

    def test_the_checks_of_the_name_come_first(self) -> None:
        assert Conversation().connected().error({"id": 2, "subscribe": {"channel": "asked:🎉"}}) == 107


class TestPublish:
    COMMAND: dict[str, Any] = {"id": 3, "publish": {"channel": "asked:x", "data": {"t": 1}}}  # noqa: RUF012

    def test_the_question(self) -> None:
        asked, question = Conversation().connected().asks(self.COMMAND)
        assert (question["channel"], question["user"], question["data"]) == ("asked:x", "42", {"t": 1})
        assert (asked.event, asked.timeout_s) == ("publish", 2)

    def test_accepted_as_it_is_or_changed(self) -> None:
        conversation = Conversation().connected()
        asked, _ = conversation.asks(self.COMMAND)
        action = started(conversation.decided(asked, hook_results.Accepted()))
        assert isinstance(action, Publish)
        assert (bytes(action.data), action.tags, action.skip_history) == (b'{"t": 1}', None, False)
        conversation.fails(action)
        asked, _ = conversation.asks(self.COMMAND)
        result = hook_results.Accepted(data=b'{"t":2}', tags={"k": "v"}, skip_history=True)
        action = started(conversation.decided(asked, result))
        assert isinstance(action, Publish)
        assert (bytes(action.data), action.tags, action.skip_history) == (b'{"t":2}', {"k": "v"}, True)

    def test_refused_or_expelled(self) -> None:
        conversation = Conversation().connected()
        asked, _ = conversation.asks(self.COMMAND)
        assert error_in(conversation.decided(asked, NOT_YOURS)) == 403
        asked, _ = conversation.asks(self.COMMAND)
        assert closed_by(conversation.decided(asked, BANNED)) == 4501

    def test_a_key_of_the_backend_is_that_of_the_publish(self) -> None:
        conversation = Conversation().connected()
        asked, _ = conversation.asks(self.COMMAND)
        action = started(conversation.decided(asked, hook_results.Accepted(key="order-7")))
        assert isinstance(action, Publish) and (action.key, action.as_rpc) == ("order-7", False)
        assert action.key_of_backend, "and the channel's, whoever publishes"

    def test_a_key_of_the_client_stays_its_own(self) -> None:
        conversation = Conversation().connected()
        publish = self.COMMAND["publish"] | {"idempotency_key": "k"}
        asked, _ = conversation.asks({"id": 2, "publish": publish})
        action = started(conversation.decided(asked, hook_results.Accepted()))
        assert isinstance(action, Publish) and (action.key, action.key_of_backend) == ("k", False)

    def test_a_version_goes_along_and_needs_a_history(self) -> None:
        for channel, code in (("asked:x", 100), ("asked_and_kept:x", 0)):
            conversation = Conversation(channel=ASKED).connected()
            asked, _ = conversation.asks({"id": 2, "publish": {"channel": channel, "data": 1}})
            effects = conversation.decided(asked, hook_results.Accepted(version=Version(7, "a")))
            if code:
                assert error_in(effects) == code
                (logged,) = [each for each in effects if isinstance(each, LogRefusal)]
                assert "the publish hook's answer has a version, and the channel has no history" in logged.why
            else:
                action = started(effects)
                assert isinstance(action, Publish) and action.version == Version(7, "a")

    def test_the_rpc_that_publishes_is_asked_about_in_the_same_way(self) -> None:
        conversation = Conversation().connected()
        data = {"channel": "asked:x", "idempotency_key": "k", "data": 1}
        asked, question = conversation.asks({"id": 3, "rpc": {"method": "fairlead.publish", "data": data}})
        assert (asked.event, question["channel"], question["data"]) == ("publish", "asked:x", 1)
        action = started(conversation.decided(asked, hook_results.Accepted()))
        assert isinstance(action, Publish) and action.as_rpc and action.key == "k"
        conversation.fails(action)
        asked, _ = conversation.asks({"id": 3, "rpc": {"method": "fairlead.publish", "data": data}})
        assert error_in(conversation.decided(asked, NOT_YOURS)) == 403


class TestRefresh:
    """3.7: the backend prolongs the connection, the client is not asked."""

    def expiring(self, **section: Any) -> Conversation:
        conversation = Conversation(ping_interval=0, refresh_hook=True, **section)
        return conversation.connected(exp=int(START) + 60, meta={"m": 1}, info={"n": 1})

    def asked(self, conversation: Conversation, after_s: float) -> AskHook:
        conversation.now = START + after_s
        action = started(conversation.tick())
        assert isinstance(action, AskHook), action
        return action

    def test_it_is_asked_when_the_connection_expires_and_not_before(self) -> None:
        conversation = self.expiring(hook_timeout=3)
        assert conversation.session.deadline == START + 60
        assert conversation.session.tick(START + 59.9) == []
        asked = self.asked(conversation, 60)
        assert (asked.event, asked.timeout_s) == ("refresh", 3)
        assert b'"user":"42"' in asked.question and b'"meta":{"m":1}' in asked.question

    def test_until_there_is_an_answer_it_is_asked_again_and_then_the_connection_ends(self) -> None:
        conversation = self.expiring()
        self.asked(conversation, 60)
        assert conversation.session.deadline == START + 65
        assert conversation.session.tick(START + 64.9) == []
        refused = self.asked(conversation, 65)
        assert conversation.decided(refused, NOT_YOURS) == []
        self.asked(conversation, 70)
        assert closed_by(conversation.session.tick(START + 85)) == 3005

    def test_prolonged(self) -> None:
        conversation = self.expiring()
        asked = self.asked(conversation, 60)
        result = hook_results.Extended(expires_at=int(START) + 120, info=Raw(b'{"n":2}'))
        fact = Refreshed(at=int(START + 60) * 1000, connection="c1", expires_at=int(START + 120) * 1000)
        assert conversation.decided(asked, result) == [Record(fact), Reschedule()]
        identity = conversation.state.identity
        assert (bytes(identity.info), bytes(identity.meta)) == (b'{"n":2}', b'{"m":1}'), "what is not new stays"
        assert conversation.session.deadline == START + 120
        assert conversation.session.tick(START + 119) == []
        self.asked(conversation, 120)

    def test_prolonged_for_good(self) -> None:
        conversation = self.expiring()
        effects = conversation.decided(self.asked(conversation, 60), hook_results.Extended())
        assert effects == [Record(Refreshed(at=int(START + 60) * 1000, connection="c1")), Reschedule()]
        assert conversation.session.tick(START + 1e6) == []

    def test_prolonged_to_a_time_that_is_past_is_no_prolonging(self) -> None:
        conversation = self.expiring()
        asked = self.asked(conversation, 60)
        assert closed_by(conversation.decided(asked, hook_results.Extended(expires_at=int(START) + 60))) == 3005

    def test_expired_or_expelled(self) -> None:
        conversation = self.expiring()
        assert closed_by(conversation.decided(self.asked(conversation, 60), hook_results.Expired())) == 3005
        conversation = self.expiring()
        assert closed_by(conversation.decided(self.asked(conversation, 60), BANNED)) == 4501

    def test_the_client_may_not_refresh_by_itself(self) -> None:
        conversation = self.expiring()
        assert conversation.closed({"id": 2, "refresh": {"token": token(exp=START + 90)}}) == 3501


def test_nobody_is_asked_where_no_hook_is_configured() -> None:
    conversation = Conversation(allow_anonymous_connect_without_token=True)
    assert "connect" in conversation.hears(CONNECT)
