"""The rules of a channel, and who may do what with it (reference 3.10)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proto import codes
from services.edge.channel_settings import ChannelOptions, ChannelSection, Namespace
from services.edge.channels.namespaces import (
    ChannelRules,
    Namespaces,
    Requester,
    check_length,
    check_name,
    may_publish,
    may_read_history,
    may_read_presence,
    may_subscribe,
    personal_channel,
)
from services.edge.rejection import Rejected

USER = Requester(user="42", insecure=False)
NOBODY = Requester(user="", insecure=False)
TESTER = Requester(user="", insecure=True)
HISTORY: dict[str, Any] = {"history_size": 10, "history_ttl": 60.0}


def rules(**options: Any) -> ChannelRules:
    return Namespaces(ChannelSection(without_namespace=ChannelOptions(**options))).rules("news")


def allows(channel: str, rules: ChannelRules) -> bool:
    """Whether the namespace takes this name. One that it does not take is a bad request."""
    try:
        check_name(channel, rules)
    except Rejected as rejection:
        assert rejection.error is codes.BAD_REQUEST and "channel_regex" in rejection.why
        return False
    return True


def test_a_channel_belongs_to_the_namespace_before_its_first_colon() -> None:
    section = ChannelSection(
        without_namespace=ChannelOptions(**HISTORY),
        namespaces=[Namespace(name="chat"), Namespace(name="a.b", **HISTORY)],
    )
    namespaces = Namespaces(section)
    owners = {
        "news": "_",
        "chat:7": "chat",
        "chat:7:8": "chat",
        "chat:": "chat",
        "$chat:7": "chat",
        "a.b:x": "a.b",
        "": "_",
    }
    for channel, history_class in owners.items():
        assert namespaces.rules(channel).history_class == history_class
    for channel in ("Chat:7", "other:7", ":7", "_:7", "$:7", "$$chat:7", " chat:7"):
        with pytest.raises(Rejected) as refusal:
            namespaces.rules(channel)
        assert refusal.value.error is codes.UNKNOWN_CHANNEL and "not configured" in refusal.value.why
    assert set(namespaces.history_classes()) == {"_", "a.b"}


def test_without_history_no_class_is_kept() -> None:
    assert Namespaces(ChannelSection()).history_classes() == {}


@pytest.mark.parametrize("channel", ["news", "a b", "~", "ns:x", "$ns:a.b*>", "ns:a:b"])
def test_printable_ascii_is_a_name(channel: str) -> None:
    assert allows(channel, rules())


@pytest.mark.parametrize("channel", ["ns:", "é", "ns:🎉", "a\n", "a\tb", "\x7f", "ns:a\x00"])
def test_anything_else_is_none(channel: str) -> None:
    assert not allows(channel, rules())


def test_a_rule_for_names_must_match_the_whole_rest() -> None:
    digits = rules(channel_regex="[0-9]+")
    assert allows("ns:42", digits)
    assert not allows("ns:42x", digits)
    assert not allows("ns:42\n", digits)
    assert not allows("42:x", digits)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20))
def test_any_text_has_rules_or_an_error(channel: str) -> None:
    try:
        Namespaces(ChannelSection(namespaces=[Namespace(name="ab")])).rules(channel)
    except Rejected as rejection:
        assert rejection.error is codes.UNKNOWN_CHANNEL
    assert allows(channel, rules()) in (True, False)


@pytest.mark.parametrize(
    ("channel", "fits"), [("", False), ("x", True), ("x" * 5, True), ("ü" * 5, True), ("x" * 6, False)]
)
def test_a_name_has_one_character_at_least_and_so_many_at_most(channel: str, fits: bool) -> None:
    if fits:
        check_length(channel, 5)
        return
    with pytest.raises(Rejected, match="1 to 5 characters") as refusal:
        check_length(channel, 5)
    assert refusal.value.error is codes.BAD_REQUEST


def test_nothing_is_allowed_that_is_not_switched_on() -> None:
    for requester, subscribed in itertools.product((USER, NOBODY), (True, False)):
        assert not may_subscribe("news", rules(), requester)
        assert not may_publish(rules(), requester, subscribed)
        assert not may_subscribe("news#42", rules(), requester)
        assert not may_read_history(rules(**HISTORY), requester, subscribed)
        assert not may_read_presence(rules(presence=True), requester, subscribed)


def test_who_may_subscribe() -> None:
    for_clients = rules(allow_subscribe_for_client=True)
    for_all = rules(allow_subscribe_for_client=True, allow_subscribe_for_anonymous=True)
    assert may_subscribe("news", for_clients, USER)
    assert not may_subscribe("news", for_clients, NOBODY)
    assert may_subscribe("news", for_all, NOBODY)
    alone = rules(allow_subscribe_for_anonymous=True)
    assert not may_subscribe("news", alone, NOBODY) and not may_subscribe("news", alone, USER)
    assert may_subscribe("news", rules(), TESTER)


def test_private_channels_need_a_token_of_their_own() -> None:
    everything = rules(allow_subscribe_for_client=True, allow_subscribe_for_anonymous=True)
    assert not may_subscribe("$news", everything, USER)
    assert may_subscribe("$news", everything, TESTER)


@pytest.mark.parametrize(
    ("channel", "allowed"),
    [
        ("news#42", True),
        ("news#7,42,9", True),
        ("news#42#7", False),
        ("news#7#42", True),
        ("#42", True),
        ("news#7", False),
        ("news#4", False),
        ("news#42 ", False),
        ("news#", False),
        ("$news#42", False),
    ],
)
def test_a_user_limited_channel_is_for_the_users_in_its_name(channel: str, allowed: bool) -> None:
    limited = rules(allow_user_limited_channels=True)
    assert may_subscribe(channel, limited, USER) is allowed
    assert not may_subscribe(channel, limited, NOBODY)
    assert may_subscribe(channel, limited, TESTER)
    everybody = rules(allow_subscribe_for_client=True, allow_subscribe_for_anonymous=True)
    assert not may_subscribe(channel, everybody, USER), "the name says for whom it is, but the namespace has no such"


def test_the_empty_user_id_is_a_user_of_no_channel() -> None:
    limited = rules(allow_user_limited_channels=True, allow_subscribe_for_anonymous=True)
    assert not may_subscribe("news#", limited, NOBODY) and not may_subscribe("news#42,", limited, NOBODY)


def test_a_limited_namespace_without_users_in_the_name_is_an_ordinary_one() -> None:
    assert not may_subscribe("news", rules(allow_user_limited_channels=True), USER)
    assert may_subscribe("news", rules(allow_user_limited_channels=True, allow_subscribe_for_client=True), USER)


@pytest.mark.parametrize(("namespace", "channel"), [("", "#42"), ("ns", "ns:#42")])
def test_a_personal_channel_is_limited_to_its_user(namespace: str, channel: str) -> None:
    assert personal_channel("42", namespace) == channel
    limited = rules(allow_user_limited_channels=True)
    assert may_subscribe(channel, limited, USER)
    assert not may_subscribe(channel, limited, Requester(user="4", insecure=False))


@pytest.mark.parametrize(("namespace", "prefix"), [("", "#"), ("ns", "ns:#")])
@pytest.mark.parametrize("user", ["7,8", "7#8", ",8", "#8", "8,", "7,,8", "#", ","])
def test_a_personal_channel_lets_in_nobody_but_its_user_whatever_the_id(user: str, namespace: str, prefix: str) -> None:
    limited = rules(allow_user_limited_channels=True)
    channel = personal_channel(user, namespace)
    assert may_subscribe(channel, limited, Requester(user, insecure=False), prefix)
    for other in ("7", "8", "7,8,", "#7,8", "", user + ",", "," + user):
        if other != user:
            assert not may_subscribe(channel, limited, Requester(other, insecure=False), prefix)
    assert may_subscribe("ns:talk#7,8", limited, Requester("8", insecure=False), prefix), "which is no personal one"
    elsewhere = "ns:#7,8" if not namespace else "#7,8"
    assert may_subscribe(elsewhere, limited, Requester("8", insecure=False), prefix)


@pytest.mark.parametrize(
    ("may", "what"), [(may_publish, "publish"), (may_read_history, "history"), (may_read_presence, "presence")]
)
def test_who_may_publish_and_read_history_and_presence(
    may: Callable[[ChannelRules, Requester, bool], bool], what: str
) -> None:
    def allowed(whom: str, requester: Requester, subscribed: bool, *, anonymous: bool = False) -> bool:
        options = {f"allow_{what}_for_{whom}": True} | ({f"allow_{what}_for_anonymous": True} if anonymous else {})
        return may(rules(**HISTORY, **options), requester, subscribed)

    assert [allowed("client", requester, False) for requester in (USER, NOBODY, TESTER)] == [True, False, True]
    assert [allowed("anonymous", requester, True) for requester in (USER, NOBODY, TESTER)] == [False, False, True]
    assert allowed("client", NOBODY, False, anonymous=True)
    assert [allowed("subscriber", requester, False) for requester in (USER, NOBODY, TESTER)] == [False, False, True]
    assert [allowed("subscriber", requester, True) for requester in (USER, NOBODY)] == [True, False]
    assert allowed("subscriber", NOBODY, True, anonymous=True)
