"""Subjects: one safe token for any name, and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proto import subjects
from tests.proto.vectors import load

FEW = settings(max_examples=200, deadline=None)
names = st.text(max_size=40) | st.text(alphabet=".*> %$\t\r\n\0~=/\\aé🎉", max_size=12)
classes = st.from_regex(r"[-a-zA-Z0-9_.]{2,16}", fullmatch=True) | st.just("_")

# Characters that NATS servers and clients in every language accept: no dots, spaces, wildcards, control characters.
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
@given(classes, st.integers(0, 300), st.text("0123456789abcdef", min_size=1))
@example("a_1", 0, "1")
def test_the_name_of_a_stream_tells_whose_it_is(history_class: str, partition: int, epoch: str) -> None:
    name = subjects.log_stream(history_class, partition)
    assert subjects.class_of_stream(name) == history_class
    assert subjects.class_of_stream(subjects.index_of(name, epoch)) == history_class
    for other in (subjects.SESSIONS_STREAM, subjects.KEYS_STREAM, subjects.MARKS_STREAM, "CH_x", f"X{name}"):
        assert subjects.class_of_stream(other) == ""


@FEW
@given(names, classes, st.integers(1, 64))
def test_a_stream_holds_its_channels_and_republishes_them(channel: str, history_class: str, partitions: int) -> None:
    address = subjects.log_address(history_class, partitions, channel)
    partition = subjects.partition_of(channel, partitions)
    assert 0 <= partition < partitions
    stores, republishes = subjects.log_subjects(history_class, partition)
    assert address.stream == subjects.log_stream(history_class, partition)
    assert re.fullmatch(r"[^\s.*>/\\]+", address.stream), "JetStream refuses a stream of this name"
    assert address.stored.startswith(stores.removesuffix(">"))
    assert address.live.startswith(republishes.removesuffix(">"))
    assert address.stored.removeprefix("ch") == address.live.removeprefix("live")


def test_processes_are_one_token_each() -> None:
    assert subjects.session_events("a.b c").count(".") == 2
    assert subjects.telemetry("edge", "a.b").count(".") == 2
    assert subjects.telemetry_of("edge") == "tel.edge.*"
    assert subjects.telemetry_of("*") == "tel.*.*"


@FEW
@given(names, names)
def test_a_channel_is_one_safe_token_of_its_own(one: str, other: str) -> None:
    first, token = subjects.members(one).split(".")
    assert first == "mem" and SAFE_TOKEN.fullmatch(token)
    assert (subjects.members(one) == subjects.members(other)) == (one == other)
    assert re.fullmatch(r"key\.\d{1,3}", subjects.idempotency_key(one))


@FEW
@given(names)
def test_any_user_and_any_instance_is_one_safe_token(name: str) -> None:
    for subject, count in ((subjects.sent_by(name), 2), (subjects.edge_control(name), 3), (subjects.hook(name), 2)):
        tokens = subject.split(".")
        assert len(tokens) == count and all(SAFE_TOKEN.fullmatch(token) for token in tokens)


@FEW
@given(names)
def test_a_method_is_as_many_tokens_as_it_has_parts(method: str) -> None:
    first, *parts = subjects.rpc(method).split(".")
    assert first == "rpc" and len(parts) == method.count(".") + 1
    assert all(SAFE_TOKEN.fullmatch(part) for part in parts)


@FEW
@given(names, names)
def test_two_methods_never_share_a_subject(one: str, other: str) -> None:
    assert (subjects.rpc(one) == subjects.rpc(other)) == (one == other)


BUILT = {
    "members": lambda case: subjects.members(case["channel"]),
    "idempotency_keys": lambda case: subjects.idempotency_key(case["channel"]),
    "edge_control": lambda case: subjects.edge_control(case["instance"]),
    "rpc": lambda case: subjects.rpc(case["method"]),
    "send": lambda case: subjects.sent_by(case["user"]),
    "hook": lambda case: subjects.hook(case["event"]),
}


@pytest.mark.parametrize("section", BUILT)
def test_vectors(section: str) -> None:
    for case in load("subjects.json", section):
        assert BUILT[section](case) == case["subject"]


def test_methods_of_the_server_api() -> None:
    for case in load("subjects.json", "api"):
        assert subjects.api_method(case["subject"]) == case["method"]
    assert subjects.API_ALL == "api.*"


@pytest.mark.parametrize(
    ("request_subject", "stream"),
    [
        ("$JS.API.STREAM.PURGE.CH_chat_0", "CH_chat_0"),
        ("$JS.API.STREAM.MSG.DELETE.CH_chat_0", "CH_chat_0"),
        ("$JS.hub.API.STREAM.PURGE.CH_chat_0", "CH_chat_0"),
        ("$JS.API.STREAM.INFO.CH_chat_0", ""),
        ("$JS.API.STREAM.DELETE.CH_chat_0", ""),
    ],
)
def test_of_all_audited_requests_those_that_remove_messages_name_a_stream(request_subject: str, stream: str) -> None:
    said = f'{{"type":"io.nats.jetstream.advisory.v1.api_audit","subject":"{request_subject}","request":"{{}}"}}'
    assert subjects.audited_removal(said.encode()) == stream
    quoted = said.replace('"{}"', '"\\"subject\\":\\"$JS.API.STREAM.PURGE.CH_other_0\\""')
    assert subjects.audited_removal(quoted.encode()) == stream, "what a request says is not its subject"


def test_an_answer_goes_to_an_inbox_and_nowhere_else() -> None:
    for inbox in ("_INBOX.x.1", "_INBOX_backend.x.1", "replies.x", "channel.x"):
        assert subjects.may_be_answered(inbox)
    for subject in ("ch.chat.0.x", "live.chat.0.x", "eph.x", "api.publish", "ev.session.x", "$JS.API.STREAM.PURGE.x"):
        assert not subjects.may_be_answered(subject)
    for service in ("edge", "sessions", "metrics"):
        assert not subjects.may_be_answered(f"{subjects.inbox_prefix(service)}.x.1")
