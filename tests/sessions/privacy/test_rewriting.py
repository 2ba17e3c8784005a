"""What is about a user, taken out of JSON that is about several."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proto.events import Closed, EventBatch, Opened, Refused, Subscribed, encode_batch
from services.sessions.privacy.person import Person
from services.sessions.privacy.rewriting import Connections, connection_digest

ANN = 'ann "Ä" \U0001f986'


def message(*events: Any) -> bytes:
    return encode_batch(EventBatch("edge", "i", 1, list(events)))


STORY = (
    Opened(1, "c1", ANN, address="192.0.2.7"),
    Opened(1, "c2", "bob"),
    Subscribed(2, "c1", "news"),
    Subscribed(2, "c2", "news"),
    Refused(3, "publish", 103, user=ANN),
    Closed(4, "c1", 1000),
)


def of(user: str = ANN, *known: str) -> Connections:
    return Connections(Person(user), set(known))


def test_all_facts_about_a_user_go_and_no_other() -> None:
    rewritten = of().rewritten(message(*STORY))
    assert rewritten is not None and rewritten.data == message(STORY[1], STORY[3]) and rewritten.removed == 4
    assert of().rewritten(rewritten.data) is None, "done again, nothing is left to do"


def test_facts_of_connections_that_were_opened_before_are_his_too() -> None:
    later = message(Subscribed(2, "c1", "news"), Subscribed(2, "c2", "news"))
    assert of().rewritten(later) is None
    rewritten = of(ANN, "c1").rewritten(later)
    assert rewritten is not None and rewritten.data == message(Subscribed(2, "c2", "news"))


def test_facts_of_connections_that_were_erased_before_are_his_too() -> None:
    again = Connections(Person(ANN), set(), {connection_digest("c1")})
    rewritten = again.rewritten(
        message(Subscribed(2, "c1", "news"), Subscribed(2, "c2", "news"), Closed(3, "c1", 1000))
    )
    assert rewritten is not None and rewritten.data == message(Subscribed(2, "c2", "news"))
    assert again.known == {"c1"} and not again.has("c2")


@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_this_version_does_not_know_stays_as_it_is(ascii_only: bool) -> None:
    unknown = {"type": "of the future", "n": 1.5, "big": 10**30, "at": "soon"}
    batch = {"edge": "e", "events": [unknown, {"type": "greeted", "user": ANN}, 7], "x": [1.50, None], "version": 1}
    rewritten = of().rewritten(json.dumps(batch, ensure_ascii=ascii_only).encode())
    assert rewritten is not None and rewritten.data is not None
    assert json.loads(rewritten.data) == {**batch, "events": [unknown, 7]}


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"events": 1}', b'{"edge": "e"}', b"[" * 9999])
def test_what_is_no_batch_goes_as_a_whole_if_it_names_him(data: bytes) -> None:
    assert of().rewritten(data) is None
    for ascii_only in (True, False):
        named = of().rewritten(data + json.dumps({"user": ANN}, ensure_ascii=ascii_only).encode())
        assert named is not None and named.data is None


def test_his_own_channel_is_about_him() -> None:
    rewritten = of("ann").rewritten(message(Subscribed(2, "c9", "#ann"), Subscribed(2, "c9", "talk#ann,bob")))
    assert rewritten is not None and rewritten.data == message(Subscribed(2, "c9", "talk#ann,bob"))


@pytest.mark.parametrize("others", [{}, {"news": 7, "talk#ann,bob": 8}])
def test_the_end_of_anothers_connection_does_not_say_how_far_it_was_in_his_channel(others: dict[str, int]) -> None:
    about = of("ann")
    rewritten = about.rewritten(message(Closed(4, "c2", 1000, offsets={"own:#ann": 9, **others})))
    assert rewritten is not None and rewritten.removed == rewritten.left == 1
    assert rewritten.data == message(Closed(4, "c2", 1000, offsets=others)) and about.channels == {"own:#ann"}
    assert about.rewritten(rewritten.data) is None


def test_the_facts_themselves_are_found() -> None:
    assert [json.loads(bytes(fact))["type"] for fact in of().facts_in(message(*STORY))] == [
        "opened", "subscribed", "refused", "closed",
    ]  # fmt: skip
    assert of().facts_in(b"no JSON") == []
