from __future__ import annotations

import pytest

from services.sessions.commands.tables import listed, shortened, stacked, width, wrapped

HEADS = ("USER", "SESSION", "CHANNELS", "N")
IDS = ["0f9a1c22-7d1e-4a55", "0f9a1c23-0000-1111", "77aa0b1c-1234-9999"]
ROWS = [
    ["alice", IDS[0], "chat:lobby, news and 14 more", "1"],
    ["bob", IDS[2], "", "22"],
]


def test_ids_are_cut_to_eight_letters_or_as_many_as_tell_them_apart() -> None:
    assert [row[1] for row in shortened(ROWS, (1,))] == ["0f9a1c22", "77aa0b1c"]
    alike = [["x", f"12345678{end}"] for end in ("a", "b", "b")]
    assert [row[1] for row in shortened(alike, (1,))] == ["12345678a", "12345678b", "12345678b"]
    assert shortened([["alice-1"]], (0,)) == [["alice-1"]]


def test_a_column_stands_below_its_row() -> None:
    assert stacked(HEADS, ROWS, (3,), 2, 40) == [
        "USER   SESSION              N",
        "alice  0f9a1c22-7d1e-4a55   1",
        "    chat:lobby, news and 14 more",
        "bob    77aa0b1c-1234-9999  22",
    ]
    assert width(("USER", "SESSION", "N"), [[row[0], row[1], row[3]] for row in ROWS]) == 29
    assert stacked(HEADS, ROWS, (3,), 2, 28) == [], "the others have no room"


def test_cells_stand_below_each_other() -> None:
    rows = [("alice", "one two"), ("", "a  b"), ("日本", "")]
    lines = ["USER  ali", "      ce", "名    one", "      two", "", "名    a b", "", "USER  日", "      本"]
    assert listed(("USER", "名"), rows, 9) == lines
    assert listed(("USER",), [("a  b",)], 10) == ["USER  a  b"], "one with room is as it is"
    assert listed(("USER",), [("日本",)], 1) == ["USER  日", "      本"], "never less than a letter"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("one two three", ["one two", "three"]),
        ("12345678901234567890 x", ["12345678", "90123456", "7890 x"]),
        ("日本語日本語", ["日本語日", "本語"]),
    ],
)
def test_text_is_broken_between_words(text: str, lines: list[str]) -> None:
    assert list(wrapped(text, 8)) == lines
