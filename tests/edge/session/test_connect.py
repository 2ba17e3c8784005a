"""Who may connect, and the connect reply (client-protocol.md, sections 3.2, 3.10 and 5)."""

from __future__ import annotations

from typing import Any

import pytest

from proto import codes
from proto.events import Opened
from services.edge.arrival import Arrival
from services.edge.backend.hook_results import Admitted, Refused, Unauthenticated
from services.edge.client_settings import CodeToDisconnect
from services.edge.framing import formats
from services.edge.hook_settings import ToDisconnect
from services.edge.session.effects import Admit, Farewell, Record
from tests.edge.conversation import (
    START,
    VERSION,
    Conversation,
    anonymous,
    closed_by,
    connect,
    connected,
    logged,
    refused_by,
    said,
    token,
)

CONNECT: dict[str, Any] = {"id": 1, "connect": {}}


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

    def test_the_edge_s_time_is_told_where_that_is_switched_on(self) -> None:
        conversation = Conversation(connect_include_server_time=True)
        conversation.ahead = 0.5
        assert conversation.hears(connect())["connect"]["time"] == START * 1000 + 500

    def test_session_events_tell_what_the_settings_say_of_how_it_came(self) -> None:
        came = Arrival("2001:db8::1", "https://a.example", "Mozilla/5.0", {"cookie": "secret"})
        for told in ([], ["address"], ["address", "transport", "user_agent", "origin"]):
            effects = Conversation(arrival=came, session_event_details=told).says(connect())
            (fact,) = [effect.event for effect in effects if isinstance(effect, Record)]
            assert isinstance(fact, Opened)
            known = {"address": came.address, "transport": "websocket"}
            known |= {"user_agent": came.user_agent, "origin": came.origin}
            assert {name: getattr(fact, name) for name in known} == {
                name: value if name in told else "" for name, value in known.items()
            }

    @pytest.mark.parametrize(("how", "kept"), [("truncated", "192.0.2.1"), ("none", "")])
    def test_an_address_that_no_event_tells_is_forgotten(self, how: str, kept: str) -> None:
        came = Arrival("192.0.2.1", "https://a.example")
        Conversation(arrival=came, session_event_details=["address"], session_addresses=how).says(connect())
        assert came == Arrival(kept)

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
        conversation = Conversation()
        assert conversation.closed(CONNECT) == 3501
        assert refused_by(conversation.effects) == ("connect", 3501, "no token, and anonymous clients are not allowed")

    def test_the_close_frame_has_the_reason_of_the_protocol_whatever_the_session_log_is_told(self) -> None:
        (close,) = [effect.close for effect in Conversation().says(CONNECT) if isinstance(effect, Farewell)]
        assert close == codes.BAD_REQUEST_CLOSE

    def test_without_a_token_where_that_is_allowed(self) -> None:
        assert anonymous().state.identity.user == ""

    def test_a_token_without_a_user_is_an_anonymous_one_that_may_be_refused(self) -> None:
        assert "connect" in Conversation().hears(connect(sub=""))
        conversation = Conversation(disallow_anonymous_connection_tokens=True)
        assert conversation.closed(connect(sub="")) == 3507
        assert refused_by(conversation.effects) == ("connect", 3507, "the token has no user")
        assert "connect" in Conversation(disallow_anonymous_connection_tokens=True).hears(connect())

    def test_names_are_cut(self) -> None:
        conversation = anonymous()
        assert (conversation.state.name, conversation.state.version) == ("", "")
        conversation = Conversation(insecure=True)
        conversation.hears({"id": 1, "connect": {"name": "n" * 20, "version": "v" * 70}})
        assert (conversation.state.name, conversation.state.version) == ("n" * 16, "v" * 64)

    def test_a_user_has_so_many_connections_and_no_more(self) -> None:
        third = Conversation(user_connection_limit=2)
        third.connections["42"] = 2
        assert third.closed(connect()) == 3504
        second = Conversation(user_connection_limit=2)
        second.connections["42"] = 1
        assert "connect" in second.hears(connect())

    def test_it_counts_from_the_moment_that_it_is_authenticated(self) -> None:
        """Its channels may take a while, and its user's next connect must not pass the limit meanwhile."""
        assert Admit("42") in Conversation().says(connect(channels=["open:x"]))

    def test_connections_without_a_user_id_are_not_counted(self) -> None:
        conversation = Conversation(user_connection_limit=1)
        conversation.connections[""] = 1000
        assert "connect" in conversation.hears(connect(sub=""))


class TestUnidirectional:
    """5: a client that gets no replies, so that an error ends the connection."""

    def uni(self, **section: Any) -> Conversation:
        return Conversation(format=formats.UNI_SSE, **section)

    def test_it_is_told_of_pings_but_not_to_answer_or_to_refresh(self) -> None:
        push = said(self.uni().says(connect(exp=START + 60)))["push"]
        assert push == {"connect": {"client": "c1", "version": VERSION, "ping": 25}}

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
        effects = conversation.decided(asked, Refused(error))
        assert closed_by(effects) == code and error.message in logged(effects)

    def test_the_settings_say_how_an_error_ends_the_connection(self) -> None:
        says = [
            CodeToDisconnect(403, ToDisconnect(4903, "permission denied")),
            CodeToDisconnect(109, ToDisconnect(4904, "log in again")),
        ]
        conversation = self.uni(connect_hook=True, connect_code_to_unidirectional_disconnect=says)
        asked, _ = conversation.asks(CONNECT)
        assert closed_by(conversation.decided(asked, Refused(codes.ErrorCode(403, "not yours")))) == 4903
        assert self.uni(connect_code_to_unidirectional_disconnect=says).closed(connect(exp=START)) == 4904
        both_ways = Conversation(connect_code_to_unidirectional_disconnect=says)
        assert both_ways.hears(connect(exp=START))["error"]["code"] == 109, "others get the error itself"

    def test_an_expired_token(self) -> None:
        assert self.uni().closed(connect(exp=START)) == 3005

    def test_channels_of_its_own_that_it_may_not_have(self) -> None:
        for channel, code in (("closed:x", 3507), ("none:x", 3004), ("🎉", 3004)):
            request = {"id": 1, "connect": {"token": token(), "subs": {channel: {}}}}
            assert self.uni().closed(request) == code


class TestInsecure:
    """3.10: for tests, everything is allowed."""

    def test_connections_do_not_expire_but_their_tokens_do(self) -> None:
        assert "expires" not in Conversation(insecure=True).hears(connect(exp=START + 60))["connect"]
        assert Conversation(insecure=True).error(connect(exp=START - 1)) == 109

    def test_tokens_are_not_forged_either(self) -> None:
        assert Conversation(insecure=True).closed({"id": 1, "connect": {"token": token()[:-2]}}) == 3500

    def test_nobody_needs_a_token(self) -> None:
        assert "connect" in Conversation(insecure=True).hears(CONNECT)
        assert connected(insecure=True, allow_send=False).closed({"id": 1}) == 3501


class TestAuthenticatingProxy:
    """A proxy in front has said who the client is (`client.user_id_http_header`)."""

    def by_proxy(self, **section: Any) -> Conversation:
        return Conversation(arrival=Arrival(user="alice"), **section)

    def test_its_user_connects_without_a_token(self) -> None:
        conversation = self.by_proxy()
        assert "expires" not in conversation.hears(CONNECT)["connect"]
        assert conversation.state.identity.user == "alice"

    def test_a_token_counts_before_it(self) -> None:
        conversation = self.by_proxy()
        conversation.hears(connect())
        assert conversation.state.identity.user == "42"
        assert self.by_proxy().closed({"id": 1, "connect": {"token": "x"}}) == 3500

    def test_the_connect_hook_is_told_of_it_and_may_leave_it_at_that(self) -> None:
        for answer in (Unauthenticated(), Admitted()):
            conversation = self.by_proxy(connect_hook=True)
            asked, question = conversation.asks(CONNECT)
            assert question["user"] == asked.caller.user == "alice"
            assert "connect" in said(conversation.decided(asked, answer))
            assert conversation.state.identity.user == "alice"

    def test_the_connect_hook_may_refuse_it_or_name_another_user(self) -> None:
        conversation = self.by_proxy(connect_hook=True)
        asked, _ = conversation.asks(CONNECT)
        conversation.decided(asked, Admitted(user="bob"))
        assert conversation.state.identity.user == "bob"
        conversation = self.by_proxy(connect_hook=True)
        asked, _ = conversation.asks(CONNECT)
        assert said(conversation.decided(asked, Refused(codes.PERMISSION_DENIED)))["error"]["code"] == 103

    def test_the_limit_on_its_connections_holds(self) -> None:
        conversation = self.by_proxy(user_connection_limit=1)
        conversation.connections["alice"] = 1
        assert conversation.closed(CONNECT) == 3504
