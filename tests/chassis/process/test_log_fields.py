"""Fields in the text form: what a client chose forges no line and no other field, and can be searched for."""

from __future__ import annotations

import shlex

import pytest

from services.chassis.process.log_fields import MAX_LENGTH, NAMES, about, cut, one_line, written

HOSTILE = (
    "alice\n2026-11-29T00:00:00.000Z INFO    edge-1: forged",
    "a b",
    'a" user=root b="',
    "\\",
    '\\" user=root',
    "a\tuser=root",
    "a user=root",
    " user=root",
    "user=root",
    "\x1b[2Ka",
    "a\u2028b",
    "a\u202eb",
    "a\x85b",
    "\ud83d",
    "a\x00b",
    "x" * 100_000,
    "é\U0001f600" * 1000,
)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_value_that_a_client_chose_stays_one_value_in_one_line(text: str) -> None:
    line = written(about(client="c", user=text, channel="chat:x", code=103))
    assert line.isprintable() and line.encode()
    assert len(line) < 12 * MAX_LENGTH
    assert [word.partition("=")[0] for word in shlex.split(line)] == ["client", "user", "channel", "code"]
    assert " user=root" not in line and line.count(" user=") == 1


@pytest.mark.parametrize("user", ["alice", "42", "a@b.example", "YWxpY2U=", "Zoë", "auth0|5f7c", "a'b"])
def test_usual_values_are_written_as_they_are(user: str) -> None:
    assert written(about(user=user)) == f" user={user}"


def test_other_values_are_in_quotes() -> None:
    assert written(about(user="Jane Doe", channel='say "hi"')) == r' user="Jane Doe" channel="say \"hi\""'
    assert written({"library": ""}) == ' library=""'


def test_empty_fields_are_left_out_and_others_keep_their_order() -> None:
    assert about(user="a", channel="", code=0) == {"user": "a"}
    assert [*about(code=1, user="a", client="c")] == ["client", "user", "code"]
    assert about(seconds=1.23456) == {"seconds": 1.235}


def test_a_message_is_one_line_and_has_no_fields_of_its_own() -> None:
    assert one_line("a\nb") == r"a\nb"
    for name in NAMES:
        assert one_line(f"asked for '/x {name}=root'") == rf"asked for '/x {name}\x3droot'"
    assert one_line("client.insecure = true, history_user=1") == "client.insecure = true, history_user=1"


def test_json_has_no_value_without_end() -> None:
    assert cut("x" * 1000) == "x" * MAX_LENGTH + "..." and cut(7) == 7
