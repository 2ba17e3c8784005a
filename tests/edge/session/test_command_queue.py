"""The commands that wait behind the one in progress, and their size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from proto.commands import Command
from services.edge.session.command_queue import CommandQueue
from services.edge.session.server_commands import SendToClient


def commands(*ids: int) -> list[Command]:
    return [Command(id=number) for number in ids]


def counts(queue: CommandQueue) -> tuple[int, int, int, int]:
    """All items, the client's commands, those of backends, bytes."""
    return len(queue), queue.commands, queue.server_commands, queue.queued_bytes


def test_an_empty_one_holds_nothing() -> None:
    queue = CommandQueue()
    assert counts(queue) == (0, 0, 0, 0) and not queue
    queue.add([], 1000)
    assert counts(queue) == (0, 0, 0, 0) and not queue, "a message without commands has nothing that waits"


def test_commands_of_clients_and_of_backends_come_out_in_the_order_in_which_they_came() -> None:
    queue = CommandQueue()
    orders = [SendToClient(Raw(b"1")), SendToClient(Raw(b"2"))]
    queue.add(commands(1), 10)
    queue.add_server_command(orders[0])
    queue.add(commands(2, 3), 20)
    queue.add_server_command(orders[1])
    assert counts(queue) == (5, 3, 2, 30)
    assert [queue.take() for _ in range(5)] == [*commands(1), orders[0], *commands(2, 3), orders[1]]
    assert counts(queue) == (0, 0, 0, 0)


def test_the_bytes_of_a_message_count_until_its_last_command_is_taken() -> None:
    queue = CommandQueue()
    queue.add(commands(1, 2, 3), 100)
    queue.add(commands(4), 7)
    seen = []
    while queue:
        queue.take()
        seen.append(queue.queued_bytes)
    assert seen == [107, 107, 7, 0]


def test_commands_of_backends_count_apart_and_have_no_bytes() -> None:
    queue = CommandQueue()
    queue.add_server_command(SendToClient(Raw(b"x" * 1000)))
    assert counts(queue) == (1, 0, 1, 0)
    queue.take()
    assert counts(queue) == (0, 0, 0, 0)


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(1, 5), st.integers(0, 1000))), max_size=20), st.data())
def test_commands_that_were_taken_no_longer_count(messages: list[tuple[int, int] | None], data: st.DataObject) -> None:
    """`messages`: None for a command of a backend, otherwise how many commands a message has, and its bytes."""
    queue = CommandQueue()
    for message in messages:
        if message is None:
            queue.add_server_command(SendToClient(Raw(b"1")))
        else:
            queue.add(commands(*range(message[0])), message[1])
        for _ in range(data.draw(st.integers(0, len(queue)))):
            queue.take()
        assert len(queue) == queue.commands + queue.server_commands
        assert queue.queued_bytes >= 0 and queue.server_commands >= 0
    while queue:
        queue.take()
    assert counts(queue) == (0, 0, 0, 0)
