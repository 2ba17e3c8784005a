"""Log lines that strangers can cause do not flood the log."""

from __future__ import annotations

import pytest

from services.chassis.process.log_fields import about
from services.edge.backend.backend import BackendError, Caller
from services.edge.connection.refusal_log import ALL_USERS, FORGET_S, RefusalLog
from tests.edge.conversation import token
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, FakeClock, TestEdge
from tests.support.function_backend import FunctionBackend


def test_refusals_are_in_the_log_but_do_not_flood_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = FakeClock()
    refusals = RefusalLog(clock.now)
    for number in range(1000):
        refusals.write("a command was refused", f"number {number}", {})
    few = len(caplog.records)
    assert 0 < few < 100
    clock.time += 3600
    refusals.write("a command was refused", "the last", {})
    assert "the last" in caplog.text and f"{1000 - few} more like this" in caplog.text


def test_one_kind_of_refusal_does_not_hide_another(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = FakeClock()
    refusals = RefusalLog(clock.now)
    for number in range(1000):
        refusals.write(f"a command was refused with {number % 7}", "it", {})
    refusals.write("an upgrade was refused", "the origin", {})
    assert "the origin" in caplog.text
    for number in range(10_000):
        refusals.write(f"kind {number}", "made up", {})
    kinds = {record.getMessage() for record in caplog.records}
    assert len(kinds) < 1000 and len(caplog.records) < 2000


def test_one_user_who_is_refused_again_and_again_does_not_hide_another(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    refusals = RefusalLog(FakeClock().now)
    for _ in range(1000):
        refusals.write("a command was refused", "it", about(user="loud"))
    refusals.write("a command was refused", "it", about(user="quiet"))
    for number in range(1000):
        refusals.write("a command was refused", "it", about(address=f"192.0.2.{number % 256}"))
    users = [vars(record).get("user") for record in caplog.records]
    assert users.count("quiet") == 1 and len(users) < 50


def test_of_each_user_there_are_lines_and_they_count_his_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = FakeClock()
    refusals = RefusalLog(clock.now)
    for number in range(60):
        for _ in range(1 + number % 9):
            refusals.write("a command was refused", "it", about(user=f"user-{number}"))
    lines = [str(vars(record)["user"]) for record in caplog.records]
    assert {user: lines.count(user) for user in lines} == {f"user-{n}": min(1 + n % 9, 5) for n in range(60)}
    clock.time += 10
    caplog.clear()
    for number in (7, 2):
        refusals.write("a command was refused", "it", about(user=f"user-{number}"))
    assert caplog.messages == [
        "a command was refused: it (3 more like this of the same user before)",
        "a command was refused: it",
    ]


def test_the_lines_about_all_users_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = FakeClock()
    refusals = RefusalLog(clock.now)
    for number in range(10_000):
        refusals.write("a command was refused", "it", about(user=f"user-{number}"))
    assert len(caplog.records) == ALL_USERS
    refusals.write("an upgrade was refused", "it", about(address="192.0.2.1"))
    assert len(caplog.records) == ALL_USERS + 1, "others have lines of their own"
    clock.time += 10
    refusals.write("a command was refused", "it", about(user="alice"))
    assert caplog.messages[-1].endswith(f"(before, {10_000 - ALL_USERS} lines about other users were left out)")


def test_users_are_forgotten_some_minutes_after_their_last_refusal() -> None:
    clock = FakeClock()
    refusals = RefusalLog(clock.now)

    def remembered() -> list[str]:
        return [user for user in ("ann", "bob") if user in repr(vars(refusals))]

    for _ in range(9):
        refusals.write("a command was refused", "it", about(user="ann"))
        refusals.write("a command was refused", "it", about(user="bob"))
    clock.time += FORGET_S / 2
    refusals.write("a command was refused", "it", about(user="ann"))
    refusals.sweep()
    assert remembered() == ["ann", "bob"]
    clock.time += FORGET_S / 2
    refusals.sweep()
    assert remembered() == ["ann"]
    clock.time += FORGET_S / 2
    refusals.sweep()
    assert remembered() == []


def test_addresses_are_forgotten_and_how_many_lines_were_left_out_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = FakeClock()
    refusals = RefusalLog(clock.now)
    for _ in range(9):
        refusals.write("an upgrade was refused", "it", about(address="192.0.2.1"))
    clock.time += 5
    refusals.sweep()
    refusals.write("an upgrade was refused", "it", about(address="192.0.2.1"))
    clock.time += 5
    refusals.sweep()
    assert "192.0.2.1" not in str([list(throttle._said_of) for throttle in refusals._of_strangers.values()])
    refusals.write("an upgrade was refused", "it", about(address="192.0.2.2"))
    assert caplog.messages[5:] == ["an upgrade was refused: it (5 more like this of clients without a user before)"]


async def test_the_refusals_of_one_client_can_be_searched_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    talk = await connected(await TestEdge(EdgeCluster(), token_hmac_secret_key=SECRET).start(), sub="42")
    assert await talk.error(subscribe={"channel": "none:x"}) == 102
    (record,) = [each for each in caplog.records if "was refused" in each.getMessage()]
    fields = vars(record)
    assert [fields[name] for name in ("user", "client", "channel", "code")] == ["42", talk.id, "none:x", 102]


async def test_a_user_who_may_not_connect_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    edge = await TestEdge(EdgeCluster(), token_hmac_secret_key=SECRET, user_connection_limit=1).start()
    await connected(edge, sub="42")
    second = Talk(edge)
    second.say({"id": 1, "connect": {"token": token(sub="42")}})
    assert second.closed == 3504
    (record,) = [each for each in caplog.records if "user_connection_limit" in each.getMessage()]
    assert (vars(record)["user"], vars(record)["code"]) == ("42", 3504)
    assert edge.context.registry.count_of_user("42") == 1


async def test_a_user_whom_a_hook_refuses_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    def refuse(question: bytes, caller: Caller | None) -> bytes:
        raise BackendError(1403, "banned")

    backend = FunctionBackend(hooks={"subscribe": refuse})
    talk = await connected(
        await TestEdge(EdgeCluster(), backend=backend, token_hmac_secret_key=SECRET).start(), sub="7"
    )
    assert await talk.error(subscribe={"channel": "asked:x"}) == 1403
    (record,) = [each for each in caplog.records if "hook" in each.getMessage()]
    assert record.getMessage() == "a command was refused by the subscribe hook: banned"
    assert [vars(record)[name] for name in ("user", "channel", "code")] == ["7", "asked:x", 1403]
