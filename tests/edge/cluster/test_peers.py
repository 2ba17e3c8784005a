"""Large answers in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.control import ChannelsFound, ControlAnswer, Done, MembersCounted, MembersFound, Unknown
from proto.messages import ClientInfo
from services.edge.cluster.peers import merge, parts

names = st.text(max_size=4)
answers = st.one_of(
    st.builds(MembersFound, st.dictionaries(names, st.builds(ClientInfo, names, names), max_size=20)),
    st.builds(ChannelsFound, st.dictionaries(names, st.integers(0, 9), max_size=20)),
    st.builds(MembersCounted, st.integers(0, 99), st.lists(names, max_size=20)),
    st.builds(Done, st.integers(0, 9)),
    st.just(Unknown()),
)


def size(answer: ControlAnswer) -> int:
    match answer:
        case MembersFound(members=entries) | ChannelsFound(channels=entries):
            return len(entries)
        case MembersCounted(users=users):
            return len(users)
    return 0


@given(answers, st.integers(1, 7))
def test_any_answer_is_the_sum_of_its_small_parts(answer: ControlAnswer, most: int) -> None:
    pieces = list(parts(answer, most))
    assert merge(pieces) == answer
    assert len(pieces) == max(1, -(-size(answer) // most))
    assert max(map(size, pieces)) <= most


@pytest.mark.parametrize(
    "pieces", [[], [Done(), Done()], [MembersFound(), ChannelsFound()], [MembersCounted(), Unknown()]]
)
def test_parts_that_do_not_belong_together_are_refused(pieces: list[ControlAnswer]) -> None:
    with pytest.raises(ValueError, match="one answer of"):
        merge(pieces)
