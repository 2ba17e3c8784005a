"""A token that names a key which is not known yet: it is looked for, then the command is handled again."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from services.edge.session.actions import LookUpKey
from services.edge.session.outcomes import KeyLookedUp
from services.edge.session.server_commands import RefreshClient
from services.edge.session.state import Phase
from services.edge.tokens.token_public_keys import keys_from_jwks
from tests.edge.conversation import (
    START,
    Conversation,
    closed_by,
    error_in,
    said,
)
from tests.edge.signers import Signer, jwks, signer

ENDPOINT: dict[str, Any] = {"token_hmac_secret_key": "", "token_jwks_public_endpoint": "https://id.example.com/keys"}


class TestKeysThatAreNotKnownYet:
    """The token names one of the endpoint's keys. It is looked for once."""

    KEY = signer("ES256", "k1")

    def unknown(self, **section: Any) -> tuple[Conversation, LookUpKey]:
        conversation = Conversation(**(ENDPOINT | section))
        lookup = conversation.does(LookUpKey, {"id": 1, "connect": {"token": self.KEY.token(sub="42")}})
        assert (lookup.command.id, lookup.kid, conversation.session.phase) == (1, "k1", Phase.NEW)
        return conversation, lookup

    def learned(self) -> Conversation:
        conversation, lookup = self.unknown()
        self.teach(conversation, self.KEY)
        assert "connect" in said(conversation.completes(lookup, KeyLookedUp(True)))
        return conversation

    def teach(self, conversation: Conversation, key: Signer) -> None:
        conversation.keys.replace_fetched(keys_from_jwks(jwks(key.jwk()))[0])

    def test_it_was_found(self) -> None:
        assert self.learned().state.identity.user == "42"

    def test_there_is_no_such_key(self) -> None:
        conversation, lookup = self.unknown()
        assert closed_by(conversation.completes(lookup, KeyLookedUp(True))) == 3500

    def test_nobody_could_say_whether_there_is(self) -> None:
        conversation, lookup = self.unknown()
        answer = conversation.completes(lookup, KeyLookedUp(False))
        assert error_in(answer) == 100 and said(answer)["error"]["temporary"]
        assert conversation.says({"id": 2, "rpc": {}}) == [], "it is expected to leave and to come back"

    def test_a_subscription_token_with_an_unknown_key_is_like_a_forged_one(self) -> None:
        stranger = signer("ES256", "other").token(sub="42", channel="closed:x")
        for fresh, code in ((True, 103), (False, 100)):
            conversation = self.learned()
            lookup = conversation.does(LookUpKey, {"id": 2, "subscribe": {"channel": "closed:x", "token": stranger}})
            assert error_in(conversation.completes(lookup, KeyLookedUp(fresh))) == code

    def test_so_is_that_of_a_refresh(self) -> None:
        conversation, lookup = self.unknown(ping_interval=0)
        self.teach(conversation, self.KEY)
        conversation.completes(lookup, KeyLookedUp(True))
        conversation.server_command(RefreshClient(int(START) + 60, Raw(b"")))
        stranger = signer("ES256", "other").token(sub="42", exp=START + 100)
        command = {"id": 2, "refresh": {"token": stranger}}
        assert error_in(conversation.completes(conversation.does(LookUpKey, command), KeyLookedUp(False))) == 100
        assert closed_by(conversation.completes(conversation.does(LookUpKey, command), KeyLookedUp(True))) == 3500
