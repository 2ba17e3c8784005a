"""Subjects: one safe token for any name, and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proto import subjects

FEW = settings(max_examples=200, deadline=None)
names = st.text(max_size=40) | st.text(alphabet=".*> %$\t\r\n\0~=/\\aé🎉", max_size=12)
classes = st.from_regex(r"[-a-zA-Z0-9_.]{2,16}", fullmatch=True) | st.just("_")

# What NATS servers and clients in every language take without thought: no dots, spaces, wildcards, control characters.
SAFE_TOKEN = re.compile(r"[A-Za-z0-9%_:=-]+")
STREAM_NAME = re.compile(r"[A-Za-z0-9_:=-]+")


@FEW
@given(names, classes, st.integers(1, 64))
@example("", "_", 1)
@example("%", "ab", 16)
def test_any_channel_is_one_safe_token_and_comes_back(channel: str, history_class: str, partitions: int) -> None:
    address = subjects.log_address(history_class, partitions, channel)
    kinds = {address.stored: ("ch", 4), address.live: ("live", 4), subjects.ephemeral(channel): ("eph", 2)}
    for subject, (first, count) in kinds.items():
        tokens = subject.split(".")
        assert (tokens[0], len(tokens)) == (first, count)
        assert all(SAFE_TOKEN.fullmatch(token) for token in tokens)
        assert subjects.channel_of(subject) == channel
    assert STREAM_NAME.fullmatch(address.stream)


@FEW
@given(names, names)
def test_two_channels_never_share_a_subject(one: str, other: str) -> None:
    assert (subjects.ephemeral(one) == subjects.ephemeral(other)) == (one == other)


@FEW
@given(st.tuples(classes, st.integers(0, 300)), st.tuples(classes, st.integers(0, 300)))
@example(("a_1", 0), ("a", 1))
def test_two_partitions_never_share_a_stream(one: tuple[str, int], other: tuple[str, int]) -> None:
    assert (subjects.log_stream(*one) == subjects.log_stream(*other)) == (one == other)


@FEW
@given(names, classes, st.integers(1, 64))
def test_a_stream_holds_its_channels_and_republishes_them(channel: str, history_class: str, partitions: int) -> None:
    address = subjects.log_address(history_class, partitions, channel)
    partition = subjects.partition_of(channel, partitions)
    assert 0 <= partition < partitions
    stores, republishes = subjects.log_subjects(history_class, partition)
    assert address.stream == subjects.log_stream(history_class, partition)
    assert address.stored.startswith(stores.removesuffix(">"))
    assert address.live.startswith(republishes.removesuffix(">"))
    assert address.stored.removeprefix("ch") == address.live.removeprefix("live")


def test_processes_are_one_token_each() -> None:
    assert subjects.session_events("a.b c").count(".") == 2
    assert subjects.telemetry("edge", "a.b").count(".") == 2
    assert subjects.telemetry_of("edge") == "tel.edge.*"
    assert subjects.telemetry_of("*") == "tel.*.*"


@pytest.mark.parametrize("name", ["SESSIONS", "CH_a=2Eb_0", "a-b"])
def test_stream_names_that_jetstream_takes(name: str) -> None:
    assert subjects.is_stream_name(name)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a*", "a>", "a/b", "a\\b", "a\n"])
def test_stream_names_that_jetstream_refuses(name: str) -> None:
    assert not subjects.is_stream_name(name)
