"""A refused client gets a code; the reason is in the log, for the developer who looks for the mistake."""

from __future__ import annotations

from typing import Any

import pytest

from services.edge.backend.hook_answers import MAX_KEY_LENGTH
from services.edge.session.effects import LogRefusal, Send
from services.edge.session.publish import PUBLISH_RPC
from tests.edge.conversation import START, Conversation, connected, logged, refused_by, token


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ({"subscribe": {"channel": "caht:x"}}, 102, "subscribe: its namespace is not configured"),
        ({"subscribe": {"channel": "closed:x"}}, 103, "allow_subscribe_for_client"),
        ({"subscribe": {"channel": "$open:x"}}, 103, "a private channel needs a subscription token"),
        ({"subscribe": {"channel": "open:x#7"}}, 103, "allow_user_limited_channels"),
        ({"subscribe": {"channel": "open:ü"}}, 107, "channel_regex"),
        ({"subscribe": {"channel": "open:x", "tf": {"op": "xor"}}}, 107, "allow_tags_filter"),
        ({"subscribe": {"channel": "open:x", "token": "a.b.c"}}, 103, "the token: "),
        ({"publish": {"channel": "talk:x", "data": 1}}, 103, "publish: "),
        ({"publish": {"channel": "open:x"}}, 107, "no data, or a key"),
        ({"publish": {"channel": "open:x", "data": 1, "idempotency_key": "k" * (MAX_KEY_LENGTH + 1)}}, 107, "a key of"),
        ({"history": {"channel": "open:x"}}, 108, "history: its namespace keeps no history"),
        ({"presence": {"channel": "open:x"}}, 108, "presence: its namespace has no presence"),
        ({"rpc": {"method": PUBLISH_RPC, "data": {"chanel": "open:x"}}}, 107, "missing required field `channel`"),
        (
            {"rpc": {"method": PUBLISH_RPC, "data": {"channel": "open:x", "data": 1, "idempotency_key": ""}}},
            107,
            "expected channel, idempotency_key and data",
        ),
        ({"sub_refresh": {"channel": "open:x", "token": "x"}}, 103, "the client is not subscribed"),
    ],
)
def test_the_log_says_what_and_where_and_why(command: dict[str, Any], code: int, words: str) -> None:
    effects = connected().says({"id": 2, **command})
    (reply,) = [effect.reply for effect in effects if isinstance(effect, Send)]
    assert reply.error is not None
    assert reply.error.code == code and words in logged(effects)
    assert reply.error.message.isascii() and words not in reply.error.message, "not for the client"


@pytest.mark.parametrize(
    ("command", "refused"),
    [
        (
            {"subscribe": {"channel": "open:日本"}},
            ("subscribe", 107, "the channel's name is not allowed in its namespace (channel_regex)"),
        ),
        (
            {"publish": {"channel": "open:x"}},
            ("publish", 107, f"no data, or a key of more than {MAX_KEY_LENGTH} characters"),
        ),
        ({"subscribe": {"channel": "caht:x"}}, ("subscribe", 102, "unknown channel")),
    ],
)
def test_what_is_bad_about_a_request_is_the_reason_in_the_session_log(
    command: dict[str, Any], refused: tuple[str, int, str]
) -> None:
    assert refused_by(connected().says({"id": 2, **command})) == refused


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"exp": START - 90}, "the token expired 90 s ago"),
        ({"expire_at": START - 5, "exp": START + 60}, "the token expired 5 s ago"),
        ({"nbf": START + 60}, "the token becomes valid in 60 s (its nbf; client.token_nbf_leeway)"),
    ],
)
def test_a_connect_with_an_expired_token_is_logged_with_its_user(claims: dict[str, Any], words: str) -> None:
    """A backend whose clock is wrong, or that caches tokens, is found by the user who complains."""
    client = Conversation()
    effects = client.says({"id": 1, "connect": {"token": token(**claims)}})
    (reply,) = [effect.reply for effect in effects if isinstance(effect, Send)]
    assert reply.error is not None and reply.error.code == 109
    assert f"connect: {words}" in logged(effects) and client.state.about(code=109)["user"] == "42"


@pytest.mark.parametrize(
    ("command", "channel", "method"),
    [
        ({"subscribe": {"channel": "caht:x"}}, "caht:x", ""),
        ({"rpc": {"method": PUBLISH_RPC, "data": {}}}, "", PUBLISH_RPC),
        ({"publish": {"channel": "a\nb", "data": 1}}, "a\nb", ""),
    ],
)
def test_what_a_refused_command_is_about_is_given_by_itself(command: dict[str, Any], channel: str, method: str) -> None:
    (line,) = [effect for effect in connected().says({"id": 2, **command}) if isinstance(effect, LogRefusal)]
    assert (line.channel, line.method) == (channel, method) and line.code
    assert "\n" not in line.what + line.why and "caht" not in line.what + line.why, "a field has it"
