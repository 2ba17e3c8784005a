"""The conversation as a whole: connect, dispatch, RPC, send (client-protocol.md, sections 1.4, 3.1, 3.2, 3.8, 5)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from proto import codes
from services.edge.backend.backend import Caller
from services.edge.backend.hook_results import Refused
from services.edge.clients.actions import (
    Answer,
    AttachRequest,
    CallBackend,
    Close,
    Connected,
    LearnKey,
    Nothing,
    SendToBackend,
)
from services.edge.clients.client import State
from services.edge.framing import formats
from services.edge.tokens.token_public_keys import keys_from_jwks
from tests.edge.conversation import START, VERSION, Conversation, closed_by, error_in, said, token
from tests.edge.signers import Signer, jwks, signer

CONNECT: dict[str, Any] = {"id": 1, "connect": {}}


def connect(**claims: Any) -> dict[str, Any]:
    return {"id": 1, "connect": {"token": token(**claims)}}


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
            {"id": 1, "rpc": {"method": "x"}},
            {"id": 1, "ping": {}},
        ],
    )
    def test_any_other_command_ends_the_connection(self, command: dict[str, Any]) -> None:
        assert Conversation(insecure=True).closed(command) == 3501

    def test_a_second_connect_ends_it_too(self) -> None:
        assert connected().closed(CONNECT) == 3501

    def test_after_a_refused_connect_everything_is_ignored(self) -> None:
        refused = Conversation()
        assert refused.error(connect(exp=START - 1)) == 109
        assert refused.says({"id": 2, "subscribe": {"channel": "news"}}) == Nothing()
        assert refused.says({}) == Nothing()
        assert refused.says({"id": 3, "connect": {"token": token()}}) == Nothing()


class TestConnect:
    """3.2."""

    def test_with_a_token(self) -> None:
        assert Conversation().hears(connect()) == {
            "connect": {"client": "c1", "version": VERSION, "ping": 25, "pong": True}
        }

    def test_with_a_token_that_expires(self) -> None:
        result = Conversation().hears(connect(exp=START + 60))["connect"]
        assert (result["expires"], result["ttl"]) == (True, 60)

    def test_ttl_is_a_second_at_least_and_a_year_at_most(self) -> None:
        for expires, ttl in ((START + 0.9, 1), (START + 10 * 365 * 86400, 365 * 86400)):
            assert Conversation().hears(connect(exp=START + 100, expire_at=expires))["connect"]["ttl"] == ttl

    def test_without_pings_neither_ping_nor_pong_is_announced(self) -> None:
        result = Conversation(ping_interval=0).hears(connect())["connect"]
        assert "ping" not in result
        assert "pong" not in result

    def test_where_the_backend_refreshes_the_client_is_not_told_to(self) -> None:
        result = Conversation(refresh_hook=True).hears(connect(exp=START + 60))["connect"]
        assert "expires" not in result and "ttl" not in result

    def test_with_an_expired_token(self) -> None:
        assert Conversation().error(connect(exp=START)) == 109

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

    def test_a_token_without_a_user_is_an_anonymous_one_that_may_be_refused(self) -> None:
        assert "connect" in Conversation().hears(connect(sub=""))
        assert Conversation(disallow_anonymous_connection_tokens=True).closed(connect(sub="")) == 3507
        assert "connect" in Conversation(disallow_anonymous_connection_tokens=True).hears(connect())

    def test_names_are_cut(self) -> None:
        conversation = anonymous()
        assert (conversation.client.name, conversation.client.version) == ("", "")
        conversation = Conversation(insecure=True)
        conversation.hears({"id": 1, "connect": {"name": "n" * 20, "version": "v" * 70}})
        assert (conversation.client.name, conversation.client.version) == ("n" * 16, "v" * 64)

    def test_a_user_has_so_many_connections_and_no_more(self) -> None:
        third = Conversation(user_connection_limit=2)
        third.connections["42"] = 2
        assert third.closed(connect()) == 3504
        second = Conversation(user_connection_limit=2)
        second.connections["42"] = 1
        assert "connect" in second.hears(connect())

    def test_who_has_no_user_id_is_not_counted(self) -> None:
        conversation = Conversation(user_connection_limit=1)
        conversation.connections[""] = 1000
        assert "connect" in conversation.hears(connect(sub=""))


ENDPOINT: dict[str, Any] = {"token_hmac_secret_key": "", "token_jwks_public_endpoint": "https://id.example.com/keys"}


class TestKeysThatAreNotKnownYet:
    """A token names a key of the endpoint: it is looked for once, then the command is handled again."""

    KEY = signer("ES256", "k1")

    def unknown(self, **section: Any) -> tuple[Conversation, LearnKey]:
        conversation = Conversation(**(ENDPOINT | section))
        learn = conversation.does(LearnKey, {"id": 1, "connect": {"token": self.KEY.token(sub="42")}})
        assert (learn.command.id, learn.kid, conversation.client.state) == (1, "k1", State.NEW)
        return conversation, learn

    def learned(self) -> Conversation:
        conversation, learn = self.unknown()
        self.teach(conversation, self.KEY)
        assert isinstance(conversation.client.handle_again(learn.command, START, keys_are_fresh=True), Connected)
        return conversation

    def teach(self, conversation: Conversation, key: Signer) -> None:
        conversation.keys.replace_fetched(keys_from_jwks(jwks(key.jwk()))[0])

    def test_it_was_found(self) -> None:
        assert self.learned().client.identity.user == "42"

    def test_there_is_no_such_key(self) -> None:
        conversation, learn = self.unknown()
        assert closed_by(conversation.client.handle_again(learn.command, START, keys_are_fresh=True)) == 3500

    def test_nobody_could_say_whether_there_is(self) -> None:
        conversation, learn = self.unknown()
        answer = conversation.client.handle_again(learn.command, START, keys_are_fresh=False)
        assert error_in(answer) == 100 and said(answer)["error"]["temporary"]
        assert conversation.says({"id": 2, "rpc": {}}) == Nothing(), "it is expected to leave and to come back"

    def test_a_subscription_token_with_an_unknown_key_is_like_a_forged_one(self) -> None:
        stranger = signer("ES256", "other").token(sub="42", channel="closed:x")
        for fresh, code in ((True, 103), (False, 100)):
            conversation = self.learned()
            learn = conversation.does(LearnKey, {"id": 2, "subscribe": {"channel": "closed:x", "token": stranger}})
            assert error_in(conversation.client.handle_again(learn.command, START, keys_are_fresh=fresh)) == code

    def test_so_is_that_of_a_refresh(self) -> None:
        conversation, learn = self.unknown(ping_interval=0)
        self.teach(conversation, self.KEY)
        conversation.client.handle_again(learn.command, START, keys_are_fresh=True)
        conversation.client.prolong(int(START) + 60)
        stranger = signer("ES256", "other").token(sub="42", exp=START + 100)
        again = conversation.does(LearnKey, {"id": 2, "refresh": {"token": stranger}})
        assert error_in(conversation.client.handle_again(again.command, START, keys_are_fresh=False)) == 100
        assert closed_by(conversation.client.handle_again(again.command, START, keys_are_fresh=True)) == 3500


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

    @pytest.mark.parametrize("name", ["subscribe", "publish", "history", "presence", "rpc", "refresh"])
    def test_a_request_without_an_id_is_an_unasked_pong(self, name: str) -> None:
        assert connected().closed({name: {"channel": "news"}}) == 3501

    def test_the_first_request_in_the_order_of_the_reference_counts(self) -> None:
        action = connected().says({"id": 7, "rpc": {"method": "x"}, "subscribe": {"channel": "news"}})
        assert isinstance(action, AttachRequest)


class TestBackend:
    """3.8: what the edge hands on."""

    def test_an_rpc_is_for_a_backend(self) -> None:
        call = connected().does(CallBackend, {"id": 3, "rpc": {"method": "orders.list", "data": {"page": 1}}})
        assert call == CallBackend(3, "orders.list", Raw(b'{"page": 1}'))

    def test_a_backend_is_told_for_whom_it_works(self) -> None:
        caller = Conversation(format=formats.WEBSOCKET_PROTOBUF).connected(info={"n": 1}, meta={"m": 2}).client.caller
        assert caller == Caller("42", "c1", Raw(b'{"n":1}'), Raw(b'{"m":2}'), "websocket", "protobuf")

    def test_send_is_not_available_unless_it_is_switched_on(self) -> None:
        assert connected().closed({"send": {"data": 1}}) == 3508
        assert connected(allow_send=True).says({"send": {"data": 1}}) == SendToBackend(Raw(b"1"))
        assert connected(allow_send=True).says({"id": 4, "send": {}}) == SendToBackend(Raw(b""))


class TestUnidirectional:
    """5: a client that gets no replies, so that an error ends the connection."""

    def uni(self, **section: Any) -> Conversation:
        return Conversation(format=formats.UNI_SSE, **section)

    def test_it_is_told_of_pings_but_not_to_answer_or_to_refresh(self) -> None:
        result = self.uni().hears(connect(exp=START + 60))["connect"]
        assert result == {"client": "c1", "version": VERSION, "ping": 25}

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (codes.TOKEN_EXPIRED, 3005),
            (codes.EXPIRED, 3005),
            (codes.TOO_MANY_REQUESTS, 3013),
            (codes.PERMISSION_DENIED, 3507),
            (codes.INTERNAL, 3004),
            (codes.UNKNOWN_CHANNEL, 3004),
            (codes.ErrorCode(403, "not yours"), 3004),
        ],
    )
    def test_errors_become_the_end_of_the_connection(self, error: codes.ErrorCode, code: int) -> None:
        conversation = self.uni(connect_hook=True)
        asked, _ = conversation.asks(CONNECT)
        action = conversation.decided(asked, Refused(error))
        assert isinstance(action, Close) and action.close.code == code
        assert error.message in (action.detail, action.close.reason)

    def test_an_expired_token(self) -> None:
        assert self.uni().closed(connect(exp=START)) == 3005

    def test_channels_of_its_own_that_it_may_not_have(self) -> None:
        for channel, code in (("closed:x", 3507), ("none:x", 3004), ("🎉", 3004)):
            request = {"id": 1, "connect": {"token": token(), "subs": {channel: {}}}}
            assert self.uni().closed(request) == code


class TestInsecure:
    """3.10: for tests, everything is allowed."""

    def test_tokens_do_not_expire_but_are_not_forged_either(self) -> None:
        assert "expires" not in Conversation(insecure=True).hears(connect(exp=1))["connect"]
        assert Conversation(insecure=True).closed({"id": 1, "connect": {"token": token()[:-2]}}) == 3500

    def test_nobody_needs_a_token(self) -> None:
        assert isinstance(Conversation(insecure=True).says(CONNECT), Connected)
        assert isinstance(Conversation(insecure=True, allow_send=False).connected().says({"id": 1}), Close)


def test_a_client_is_told_what_it_is_when_it_refreshes() -> None:
    """3.7; JS stores the client id of the refresh result."""
    conversation = Conversation().connected(exp=START + 60)
    action = conversation.does(Answer, {"id": 9, "refresh": {"token": token(exp=START + 90)}})
    assert said(action)["refresh"]["client"] == "c1"
