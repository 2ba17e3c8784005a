"""Every message is counted once however its bytes arrive, and a sample of ages is a fair one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.load.delivery_counter import Deliveries, DeliveryCounter, total
from perf.load.payload import payload


@dataclass
class Client:
    next_number: int = 0
    last: bytes = b""


def message(number: int = 0, size: int = 64) -> bytes:
    return payload(size, number, due_ns=1)


def test_what_is_no_application_message_is_not_counted() -> None:
    counter = DeliveryCounter()
    counter.count(Client(), b'{"id":3,"publish":{}}')
    assert replace(counter.take(), cpu_s=0.0) == Deliveries()


def test_frames_like_the_last_one_are_counted_without_looking_into_them() -> None:
    counter, client = DeliveryCounter(), Client()
    framed = b"\x81\x40" + message()
    assert not counter.count_like_last(client, framed)  # nothing is known of a frame yet
    counter.count(client, message(), len(framed))
    assert counter.count_like_last(client, framed * 3)
    assert not counter.count_like_last(client, framed + b"\x81\x02{}")  # a ping behind it must be looked at
    assert not counter.count_like_last(client, framed[:-1])
    assert counter.take().messages == 4


def test_so_are_frames_that_hold_several_each() -> None:
    counter, client = DeliveryCounter(), Client()
    framed = b"\x81\x7e" + message() + b"\n" + message()
    counter.count(client, framed[2:], len(framed))
    assert counter.count_like_last(client, framed * 2)
    assert counter.take().messages == 6


@given(st.lists(st.integers(1, 7), max_size=30), st.integers(1, 5))
def test_one_age_is_taken_of_so_many_messages(batches: list[int], every: int) -> None:
    counter = DeliveryCounter(every)
    for count in batches:
        counter.count(Client(), b"".join(message(number) for number in range(count)))
    total = sum(batches)
    taken = counter.take()
    assert taken.messages == total
    assert len(taken.ages_s) == -(-total // every)


@pytest.mark.parametrize(
    ("numbers", "gaps", "repeats"),
    [([0, 1, 2], 0, 0), ([0, 2, 3], 1, 0), ([0, 1, 1], 0, 1), ([3], 3, 0), ([0, 2, 1], 1, 1), ([], 0, 0)],
)
def test_gaps_and_repeats_are_told(numbers: list[int], gaps: int, repeats: int) -> None:
    counter, client = DeliveryCounter(ordered=True), Client()
    for number in numbers:
        counter.count(client, message(number))
    taken = counter.take()
    assert (taken.gaps, taken.repeats) == (gaps, repeats)


def test_a_take_begins_anew_and_takes_add_up() -> None:
    counter = DeliveryCounter()
    takes = []
    for _ in range(2):
        counter.count(Client(), message())
        takes.append(counter.take())
    assert [one.messages for one in takes] == [1, 1]
    whole = total(takes)
    assert (whole.messages, len(whole.ages_s)) == (2, 2)
