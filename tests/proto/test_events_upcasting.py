"""Versions of facts: every version there ever was is read as the newest one, and the table of them has no holes."""

from __future__ import annotations

import re
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.events import Event, SessionEvent
from proto.events_upcasting import FACTS, OLD_VERSIONS, Step, UnknownType, Upcasting, tag_of, versioned
from tests.proto.strategies import structs


class Moved1(Event, frozen=True, tag="moved"):
    """It said where to in one word."""

    to: str


class Moved2(Event, frozen=True, tag="moved@2"):
    """The word became two."""

    edge: str
    place: str


class Moved3(Event, frozen=True, tag="moved@3"):
    """The place got a number in place of its name."""

    edge: str
    place: int


class Slept(Event, frozen=True, tag="slept"):
    """It never changed."""

    seconds: int = 0


STEPS = (
    Step(Moved1, lambda old: Moved2(old.at, *old.to.split("/"))),
    Step(Moved2, lambda old: Moved3(old.at, old.edge, len(old.place))),
)
TABLE = Upcasting[Moved3 | Slept]((Moved3, Slept), STEPS)


@pytest.mark.parametrize("fact", [Moved1(7, "east/attic"), Moved2(7, "east", "attic"), Moved3(7, "east", 5)])
def test_every_version_is_read_as_the_newest(fact: Event) -> None:
    assert TABLE.read(msgspec.json.encode(fact)) == Moved3(7, "east", 5)


@given(st.text(max_size=9), st.text(max_size=9), st.integers(0, 2**60))
def test_the_way_over_all_versions_loses_nothing(edge: str, place: str, at: int) -> None:
    assert TABLE.read(msgspec.json.encode(Moved2(at, edge, place))) == Moved3(at, edge, len(place))


def test_a_type_that_never_changed_is_read_as_it_is() -> None:
    assert TABLE.read(b'{"type":"slept","at":1,"seconds":3,"dreams":[]}') == Slept(1, 3)
    assert (TABLE.version_of("moved"), TABLE.version_of("slept")) == (3, 1)


@pytest.mark.parametrize("tag", ["moved@4", "slept@2", "woke", "", "moved@x", "moved@1", "Moved"])
def test_what_is_not_known_says_what_it_is(tag: str) -> None:
    with pytest.raises(UnknownType) as unknown:
        TABLE.read(msgspec.json.encode({"type": tag, "at": 1}))
    assert unknown.value.tag == tag


@pytest.mark.parametrize("data", [b'{"type":"moved@2","at":1}', b'{"at":1}', b"[]", b"\xff", b"[" * 100_000, b""])
def test_what_is_not_as_its_type_says_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        TABLE.read(data)


@pytest.mark.parametrize(
    ("newest", "steps"),
    [((Moved3,), STEPS[:1]), ((Moved3,), STEPS[1:]), ((Moved2,), ()), ((Moved3, Slept), (*STEPS, STEPS[0]))],
)
def test_a_version_that_is_missing_or_there_twice_is_noticed(
    newest: tuple[type[Event], ...], steps: tuple[Step, ...]
) -> None:
    with pytest.raises(ValueError, match=re.escape("expected every version of moved once, from 1 on")):
        Upcasting[Event](newest, steps)


@pytest.mark.parametrize(("tag", "told"), [("closed", ("closed", 1)), ("edge_lost@12", ("edge_lost", 12))])
def test_a_tag_says_type_and_version(tag: str, told: tuple[str, int]) -> None:
    assert versioned(tag) == told


@pytest.mark.parametrize("tag", ["", "closed@", "closed@0", "closed@1", "closed@02", "closed@-2", "Closed", "a@b@2"])
def test_nothing_else_is_a_tag(tag: str) -> None:
    with pytest.raises(ValueError, match="expected a tag such as closed or closed@2"):
        versioned(tag)


@given(st.one_of([structs(kind) for kind in get_args(SessionEvent)]))
def test_all_facts_of_the_contract_are_read_as_they_were_written(fact: SessionEvent) -> None:
    assert FACTS.read(msgspec.json.encode(fact)) == fact


def test_the_table_has_all_types_of_the_contract_and_their_older_versions() -> None:
    kinds = [*get_args(SessionEvent), *(step.old for step in OLD_VERSIONS)]
    assert frozenset(map(tag_of, kinds)) == FACTS.tags
