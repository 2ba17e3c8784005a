"""Every message is counted once however its bytes arrive, and a sample of ages is a fair one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.ears import Ears, Heard, together
from perf.payload import payload


@dataclass
class Client:
    next_number: int = 0
    last: bytes = b""


def message(number: int = 0, size: int = 64) -> bytes:
    return payload(size, number, due_ns=1)


def test_what_is_no_application_message_is_not_counted() -> None:
    ears = Ears()
    ears.hear(Client(), b'{"id":3,"publish":{}}')
    assert replace(ears.take(), cpu_s=0.0) == Heard()


def test_frames_like_the_last_one_are_counted_without_looking_into_them() -> None:
    ears, client = Ears(), Client()
    framed = b"\x81\x40" + message()
    assert not ears.all_alike(client, framed)  # nothing is known of a frame yet
    ears.hear(client, message(), len(framed))
    assert ears.all_alike(client, framed * 3)
    assert not ears.all_alike(client, framed + b"\x81\x02{}")  # a ping behind it must be looked at
    assert not ears.all_alike(client, framed[:-1])
    assert ears.take().messages == 4


def test_so_are_frames_that_hold_several_each() -> None:
    ears, client = Ears(), Client()
    framed = b"\x81\x7e" + message() + b"\n" + message()
    ears.hear(client, framed[2:], len(framed))
    assert ears.all_alike(client, framed * 2)
    assert ears.take().messages == 6


@given(st.lists(st.integers(1, 7), max_size=30), st.integers(1, 5))
def test_one_age_is_taken_of_so_many_messages(batches: list[int], every: int) -> None:
    ears = Ears(every)
    for count in batches:
        ears.hear(Client(), b"".join(message(number) for number in range(count)))
    total = sum(batches)
    heard = ears.take()
    assert heard.messages == total
    assert len(heard.ages_s) == -(-total // every)


@pytest.mark.parametrize(
    ("numbers", "gaps", "repeats"),
    [([0, 1, 2], 0, 0), ([0, 2, 3], 1, 0), ([0, 1, 1], 0, 1), ([3], 3, 0), ([0, 2, 1], 1, 1), ([], 0, 0)],
)
def test_gaps_and_repeats_are_told(numbers: list[int], gaps: int, repeats: int) -> None:
    ears, client = Ears(ordered=True), Client()
    for number in numbers:
        ears.hear(client, message(number))
    heard = ears.take()
    assert (heard.gaps, heard.repeats) == (gaps, repeats)


def test_a_take_begins_anew_and_takes_add_up() -> None:
    ears = Ears()
    takes = []
    for _ in range(2):
        ears.hear(Client(), message())
        takes.append(ears.take())
    assert [one.messages for one in takes] == [1, 1]
    whole = together(takes)
    assert (whole.messages, len(whole.ages_s)) == (2, 2)
