"""The backend prolongs a subscription that expires; its client is not asked for a token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from msgspec import Raw

from proto.codes import CloseCode, ErrorCode
from proto.replies import SubscribeResult
from services.edge.backend import hook_results
from services.edge.channel_settings import ChannelSection, Namespace
from services.edge.channels.namespaces import Namespaces
from services.edge.channels.subscription import AttachRequest
from services.edge.grants import Grant
from services.edge.session.actions import AskHook, Connect
from services.edge.session.outcomes import Attached, AttachedAll
from tests.edge.conversation import START, Conversation, closed_by, said, started

CHANNEL = "renewed:x"
ENDS = int(START) + 60
NOT_YOURS = hook_results.Refused(ErrorCode(403, "not yours"))


def expiring() -> Conversation:
    """A client whose subscription, by the grant of the hook, expires."""
    conversation = Conversation(ping_interval=0).connected()
    asked, _ = conversation.asks({"id": 2, "subscribe": {"channel": CHANNEL}})
    action = started(conversation.decided(asked, Grant(expires_at=ENDS)))
    assert isinstance(action, AttachRequest) and action.ttl == 0, "the client is not to refresh it"
    conversation.completes(action, Attached(SubscribeResult()))
    return conversation


def asked(conversation: Conversation, after_s: float) -> AskHook:
    conversation.now = START + after_s
    action = started(conversation.tick())
    assert isinstance(action, AskHook), action
    return action


def test_it_is_asked_when_the_subscription_expires_and_not_before() -> None:
    conversation = expiring()
    assert conversation.session.deadline == ENDS
    assert conversation.session.tick(ENDS - 0.1) == []
    question = asked(conversation, 60)
    assert (question.event, question.timeout_s, question.backend) == ("sub_refresh", 2, "nats")
    assert b'"user":"42","channel":"renewed:x"' in question.question


def test_after_a_reload_it_is_the_backend_that_the_namespace_names_now() -> None:
    conversation = expiring()
    renewed = ChannelSection(
        namespaces=[
            Namespace(name="renewed", subscribe_hook=True, sub_refresh_hook=True, sub_refresh_backend="app"),
        ]
    )
    conversation.current.replace(replace(conversation.current.policy, namespaces=Namespaces(renewed)))
    assert asked(conversation, 60).backend == "app"
    conversation.current.replace(replace(conversation.current.policy, namespaces=Namespaces(ChannelSection())))
    assert asked(conversation, 66).backend == "nats", "the one of before, until the reload has ended the subscription"


def test_prolonged_and_what_others_see_of_it_changes() -> None:
    conversation = expiring()
    result = hook_results.Extended(expires_at=ENDS + 60, info=Raw(b'{"role":"owner"}'))
    conversation.decided(asked(conversation, 60), result)
    subscription = conversation.state.channels[CHANNEL]
    assert (subscription.expires_at, bytes(subscription.chan_info)) == (ENDS + 60, b'{"role":"owner"}')
    assert conversation.session.deadline == ENDS + 60
    conversation.decided(asked(conversation, 120), hook_results.Extended())
    assert conversation.session.tick(START + 1e6) == []


def test_until_there_is_an_answer_it_is_asked_again_and_then_the_subscription_ends() -> None:
    conversation = expiring()
    refused = asked(conversation, 60)
    assert conversation.session.tick(START + 64.9) == []
    assert conversation.decided(refused, NOT_YOURS) == []
    asked(conversation, 65)
    conversation.now = START + 1000
    (push,) = [each for each in said_pushes(conversation.session.tick(conversation.now)) if "unsubscribe" in each]
    assert push["unsubscribe"]["code"] == 2501 and CHANNEL not in conversation.state.channels


@pytest.mark.parametrize("answer", [hook_results.Expired(), hook_results.Extended(expires_at=ENDS)])
def test_expired_ends_the_subscription_and_not_the_connection(answer: Any) -> None:
    conversation = expiring()
    (push,) = said_pushes(conversation.decided(asked(conversation, 60), answer))
    assert (push["channel"], push["unsubscribe"]["code"]) == (CHANNEL, 2501)
    assert not conversation.session.closed


def test_expired_ends_the_connection_where_the_server_had_subscribed_the_client() -> None:
    conversation = Conversation(ping_interval=0, connect_hook=True)
    admitted = hook_results.Admitted(user="42", subs={CHANNEL: Grant(expires_at=ENDS)})
    action = started(conversation.decided(conversation.does(AskHook, {"id": 1, "connect": {}}), admitted))
    assert isinstance(action, Connect)
    conversation.completes(action, AttachedAll({CHANNEL: Attached(SubscribeResult())}))
    assert closed_by(conversation.decided(asked(conversation, 60), hook_results.Expired())) == 3006


def test_a_disconnect_and_a_client_that_has_left() -> None:
    conversation = expiring()
    banned = hook_results.Disconnected(CloseCode(4501, "banned"))
    question = asked(conversation, 60)
    assert closed_by(conversation.decided(question, banned)) == 4501

    conversation = expiring()
    question = asked(conversation, 60)
    conversation.hears({"id": 3, "unsubscribe": {"channel": CHANNEL}})
    assert conversation.decided(question, hook_results.Expired()) == []


def said_pushes(effects: list[Any]) -> list[dict[str, Any]]:
    message = said(effects)
    return [message["push"]]
