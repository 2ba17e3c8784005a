"""A subscription: the options of its namespace, and the overrides of a grant."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from proto.messages import ClientInfo, FilterNode, Publication
from services.edge.channel_settings import ChannelOptions, ChannelSection
from services.edge.channels.namespaces import ChannelRules, Namespaces
from services.edge.channels.subscription import Subscription
from services.edge.channels.tags_filter import compile_filter
from services.edge.grants import Grant, Override, Switch

INFO = ClientInfo(user="42", client="c1")
HISTORY: dict[str, Any] = {"history_size": 10, "history_ttl": 60.0}


def rules(**options: Any) -> ChannelRules:
    return Namespaces(ChannelSection(without_namespace=ChannelOptions(**options))).rules("news")


def subscription(options: dict[str, Any] | None = None, **override: bool) -> Subscription:
    grant = Grant(override=Override(**{name: Switch(value) for name, value in override.items()}))
    return Subscription(rules(**(options or {})), grant, INFO)


def asked(options: dict[str, Any] | None = None, **asked: Any) -> Subscription:
    """One that the client may ask something of, and does."""
    return Subscription(rules(**(options or {})), Grant(), INFO, **asked)


def test_without_options_it_is_nothing_special() -> None:
    plain = subscription()
    assert plain.member is None and plain.filter is None
    assert not (plain.recoverable or plain.positioned or plain.emits_join_leave or plain.pushes_join_leave)
    assert not (plain.delta or plain.has_base or plain.announced or plain.server_side)


OPTIONS = [
    ("force_recovery", "recoverable", HISTORY),
    ("force_positioning", "positioned", HISTORY),
    ("join_leave", "emits_join_leave", {}),
    ("force_push_join_leave", "pushes_join_leave", {}),
]


@pytest.mark.parametrize(("option", "attribute", "more"), OPTIONS)
def test_the_namespace_decides_unless_the_grant_does(option: str, attribute: str, more: dict[str, Any]) -> None:
    for namespace in (True, False):
        options = {option: namespace, **more}
        assert getattr(subscription(options), attribute) is namespace
        assert getattr(subscription(options, **{option: True}), attribute) is True
        assert getattr(subscription(options, **{option: False}), attribute) is False


def test_nothing_is_recovered_without_history_whatever_the_grant_says() -> None:
    plain = subscription(force_recovery=True, force_positioning=True)
    assert not plain.recoverable and not plain.positioned


@pytest.mark.parametrize(
    ("options", "override", "seen"),
    [
        ({}, {}, False),
        ({"presence": True}, {}, True),
        ({"presence": True}, {"presence": False}, False),
        ({}, {"presence": True}, True),
        ({"join_leave": True}, {}, True),
        ({"join_leave": True}, {"presence": False}, True),
        ({"presence": True, "join_leave": True}, {"presence": False, "join_leave": False}, False),
    ],
)
def test_who_is_seen_by_others(options: dict[str, Any], override: dict[str, bool], seen: bool) -> None:
    member = subscription(options, **override).member
    assert (member is INFO) is seen and (member is None) is not seen


def test_a_filter_lets_some_publications_through() -> None:
    assert subscription().wants(Publication(Raw(b"1")))
    wants = asked(filter=compile_filter(FilterNode(key="team", cmp="eq", val="red")))
    assert wants.wants(Publication(Raw(b"1"), tags={"team": "red"}))
    assert not wants.wants(Publication(Raw(b"1"), tags={"team": "blue"}))
    assert not wants.wants(Publication(Raw(b"1")))


def test_a_client_may_ask_for_what_the_namespace_does_not_force() -> None:
    both = asked(HISTORY, recoverable=True)
    assert both.recoverable and both.positioned, "without a position nothing is recovered"
    position = asked(HISTORY, positioned=True)
    assert position.positioned and not position.recoverable
    assert asked(server_side=True).server_side


def test_joins_and_leaves_are_told_where_there_are_some_and_the_client_wants_them() -> None:
    assert asked({"join_leave": True}, wants_join_leave=True).pushes_join_leave
    assert not asked({"join_leave": True}).pushes_join_leave
    assert not asked(wants_join_leave=True).pushes_join_leave


def test_with_a_filter_there_are_no_deltas() -> None:
    """The client would not hold the publication that a delta starts from."""
    assert asked(HISTORY, delta=True).delta
    assert not asked(HISTORY, delta=True, filter=compile_filter(FilterNode(key="a", cmp="ex"))).delta


def test_it_is_granted_until_a_time_that_may_be_put_off() -> None:
    expiring = Subscription(rules(), Grant(expires_at=60, info=Raw(b"1")), INFO)
    assert (expiring.expires_at, bytes(expiring.chan_info)) == (60, b"1")
    expiring.extend(120, Raw())
    assert (expiring.expires_at, bytes(expiring.chan_info)) == (120, b"1")
    expiring.extend(0, Raw(b"2"))
    assert (expiring.expires_at, bytes(expiring.chan_info)) == (0, b"2")


def test_others_see_a_client_s_new_info_where_they_see_the_client() -> None:
    seen, unseen = subscription({"presence": True}), subscription()
    for each in (seen, unseen):
        each.show(Raw(b'{"n":2}'))
    assert seen.member is not None and unseen.member is None
    assert (seen.member.client, bytes(seen.member.conn_info)) == ("c1", b'{"n":2}')
    assert bytes(INFO.conn_info) == b"", "it is a copy"


def test_the_next_publication_may_be_a_delta_once_the_client_holds_one() -> None:
    plain = asked(HISTORY, delta=True)
    plain.delivered(True)
    assert plain.has_base
    plain.delivered(False)
    assert not plain.has_base
