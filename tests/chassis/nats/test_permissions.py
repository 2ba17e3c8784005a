"""What NATS does not permit a process. The servers are native ones, whatever TEST_BACKEND is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis.nats import link as link_module
from services.chassis.nats import permissions as permissions_module
from services.chassis.nats.link import NatsAway, NatsLink, NotPermitted
from services.chassis.nats.permissions import HOLD_S, MAX_KEPT, NAME_AGAIN_S, Forbidden, Permissions, forbidden_by
from services.chassis.nats.settings import NatsSettings
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.servers_native import NativeNats

PUBLISH, SUBSCRIBE = Forbidden(True, "tel.edge.x"), Forbidden(False, "live.chat.0.x")


def test_the_subject_of_a_complaint_is_as_the_server_wrote_it() -> None:
    for complaint, what in {
        'Permissions Violation for Publish to "$JS.API.STREAM.INFO.CH_x_0"': Forbidden(
            True, "$JS.API.STREAM.INFO.CH_x_0"
        ),
        'Permissions Violation for Subscription to "eph.%C3%A9"': Forbidden(False, "eph.%C3%A9"),
        'Permissions Violation for Subscription to "api.*" using queue "edges"': Forbidden(False, "api.*"),
        'Permissions Violation for Subscription to "eph.x" (sid "12")': Forbidden(False, "eph.x"),
        'Permissions Violation for Publish with Reply of "$JS.ACK.x"': Forbidden(True, "$JS.ACK.x"),
        "Authorization Violation": None,
    }.items():
        assert forbidden_by(complaint) == what


def test_what_is_refused_is_a_problem_until_it_has_not_been_refused_for_a_while() -> None:
    permissions = Permissions("_INBOX_x.own")
    assert permissions.problem(0) is None
    permissions.refused(SUBSCRIBE, 0)
    assert permissions.problem(0) == "NATS does not permit subscribing to live.chat.0.x"
    assert permissions.to_try(0) == ["live.chat.0.x"]
    permissions.refused(PUBLISH, 5)
    assert permissions.problem(5) == "NATS does not permit publishing to tel.edge.x (and 1 more)"
    assert permissions.problem(HOLD_S) == "NATS does not permit publishing to tel.edge.x"
    permissions.refused(PUBLISH, HOLD_S + 4)
    assert permissions.problem(HOLD_S + 6) is not None
    assert permissions.problem(2 * HOLD_S + 4) is None and permissions.violations == 3


def test_a_new_connection_begins_without_a_problem() -> None:
    permissions = Permissions("_INBOX_x.own")
    permissions.refused(SUBSCRIBE, 0)
    permissions.forget()
    assert permissions.problem(0) is None and permissions.violations == 1


@pytest.mark.parametrize(
    "subject", ["_INBOX.backend.1", "_INBOX_x.backend.1", "somewhere", "rpc.orders.get", "send.alice"]
)
def test_a_subject_that_others_choose_makes_nobody_unready(subject: str) -> None:
    permissions = Permissions("_INBOX_x.own")
    assert permissions.refused(Forbidden(True, subject), 0)
    assert permissions.problem(0) is None and permissions.violations == 1


@pytest.mark.parametrize("subject", ["hook.connect", "mark.CH_a_0", "$JS.API.INFO", "_INBOX_x.own.1"])
def test_a_subject_of_its_own_does(subject: str) -> None:
    permissions = Permissions("_INBOX_x.own")
    permissions.refused(Forbidden(True, subject), 0)
    assert permissions.problem(0) is not None


def test_each_subject_is_named_once_in_a_while_and_not_too_many_of_them() -> None:
    permissions = Permissions("_INBOX_x.own")
    assert permissions.refused(PUBLISH, 0) and permissions.news(0) == str(PUBLISH)
    assert not permissions.refused(PUBLISH, NAME_AGAIN_S - 1)
    assert permissions.refused(PUBLISH, NAME_AGAIN_S) and permissions.news(NAME_AGAIN_S) == str(PUBLISH)
    many = [Forbidden(False, f"eph.{number}") for number in range(3 * MAX_KEPT)]
    now = NAME_AGAIN_S
    for each in many:
        permissions.refused(each, now)
    assert permissions.news(now).count("eph.") == MAX_KEPT - 1
    assert permissions.violations == 3 + len(many)
    assert permissions.refused(many[-1], now + NAME_AGAIN_S)
    assert permissions.news(now + NAME_AGAIN_S) == str(many[-1])


def test_what_clients_choose_does_not_take_the_place_of_what_is_needed() -> None:
    permissions = Permissions("_INBOX_x.own")
    for number in range(3 * MAX_KEPT):
        permissions.refused(Forbidden(True, f"rpc.{number}"), 0)
    assert permissions.to_try(0) == []
    assert permissions.news(0).count("rpc.") == MAX_KEPT
    assert permissions.refused(SUBSCRIBE, 1)
    assert permissions.problem(1) == "NATS does not permit subscribing to live.chat.0.x"
    assert permissions.news(1) == "subscribing to live.chat.0.x"


def test_what_was_named_lately_does_not_hide_what_is_refused_now() -> None:
    permissions = Permissions("_INBOX_x.own")
    for number in range(MAX_KEPT):
        permissions.refused(Forbidden(True, f"ch.{number}"), 0)
    permissions.refused(SUBSCRIBE, HOLD_S)
    assert permissions.problem(HOLD_S) == "NATS does not permit subscribing to live.chat.0.x"
    assert permissions.to_try(HOLD_S) == ["live.chat.0.x"]


def test_of_many_refused_subscriptions_a_few_are_tried_until_they_are_permitted_and_then_all() -> None:
    permissions = Permissions("_INBOX_x.own")
    many = [Forbidden(False, f"eph.{number}") for number in range(3 * MAX_KEPT)]
    for each in many:
        permissions.refused(each, 0)
    few = permissions.to_try(5)
    assert few is not None and len(few) == MAX_KEPT
    for subject in few:
        permissions.refused(Forbidden(False, subject), 5)
    assert permissions.to_try(10) == few, "they were refused again"
    assert permissions.to_try(15) is None, "they were not: so all of them are tried, once"
    assert permissions.to_try(19) == few
    assert permissions.problem(20) is None and permissions.to_try(20) == []


def test_many_requests_to_its_own_inbox_are_one_subject() -> None:
    permissions = Permissions("_INBOX_x.own")
    for number in range(3):
        permissions.refused(Forbidden(True, f"_INBOX_x.own.{number}"), 0)
    assert permissions.problem(0) == "NATS does not permit publishing to _INBOX_x.>"
    assert permissions.news(0) == "publishing to _INBOX_x.>"


def test_what_is_refused_within_a_moment_is_one_line_and_so_is_its_repetition() -> None:
    permissions = Permissions("_INBOX_x.own")
    first, then = Forbidden(True, "ch.a"), Forbidden(True, "ch.b")
    for what in (first, SUBSCRIBE, first):
        permissions.refused(what, 0)
    assert permissions.news(0) == "publishing to ch.a; subscribing to live.chat.0.x"
    assert permissions.refused(then, 5) and permissions.news(5) == "publishing to ch.b"
    assert permissions.news(5) == ""
    again = NAME_AGAIN_S
    permissions.refused(then, again - 1)
    assert permissions.refused(first, again)
    assert permissions.news(again) == "publishing to ch.a, ch.b"
    assert not permissions.refused(then, again + 5), "it was told with the other one"


def users(allowed: str) -> str:
    return f"""
    authorization {{ users = [{{
      user: edge, password: "a-password-of-the-tests"
      permissions {{ publish {{ allow: [{allowed}] }}, subscribe {{ allow: [{allowed}] }} }}
    }}] }}
    """


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NativeNats]:
    server = NativeNats(tmp_path / "nats")
    yield server
    server.close()


def settings(server: NativeNats) -> NatsSettings:
    return NatsSettings(url=server.url, user="edge", password="a-password-of-the-tests")


def listen(link: NatsLink, subject: str) -> list[bytes]:
    heard: list[bytes] = []
    link.subscribe(subject, lambda subject, reply, headers, data: heard.append(subject))
    return heard


@pytest.mark.integration
@pytest.mark.native
async def test_what_is_forbidden_is_counted_named_and_a_problem(
    server: NativeNats, caplog: pytest.LogCaptureFixture
) -> None:
    server.configure(users('"_INBOX.>"'))
    server.start()
    async with linked(settings(server)) as link:
        await link.flush()
        assert link.permission_violations == 0 and link.problem is None
        link.publish("ch.Aa.0.x", b"1")
        await eventually(lambda: link.problem == "NATS does not permit publishing to ch.Aa.0.x")
        listen(link, "live.Aa.0.x")
        await eventually(lambda: link.permission_violations == 2)
        link.publish("ch.Aa.0.x", b"1")
        await eventually(lambda: link.permission_violations == 3)
        with pytest.raises(NatsAway, match=r"does not permit publishing to hook\.connect"):
            await link.request("hook.connect", b"", timeout_s=60)
        with pytest.raises(NotPermitted, match=r"does not permit publishing to \$JS\.API\.STREAM\.INFO\.S"):
            await link.stream_manager(60).stream_info("S")
    told = [record.getMessage() for record in caplog.records if "does not permit" in record.getMessage()]
    assert len(told) < 4 and " ".join(told).count("ch.Aa.0.x") == 1
    assert "subscribing to live.Aa.0.x" in " ".join(told)
    assert all("allow it to user edge (nats.user) in the configuration of NATS" in line for line in told)


@pytest.mark.integration
@pytest.mark.native
async def test_what_is_permitted_by_a_reload_works_without_a_reconnect(
    server: NativeNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_PERMITTED_NOW_S", 0.1)
    monkeypatch.setattr(permissions_module, "HOLD_S", 0.5)
    server.configure(users('"_INBOX.>"'))
    server.start()
    async with linked(settings(server)) as link:
        heard = listen(link, "live.x")
        await eventually(lambda: link.problem == "NATS does not permit subscribing to live.x")
        server.configure(users('"_INBOX.>", "live.>"'))
        server.reload()

        def arrives() -> bool:
            link.publish("live.x", b"")
            return bool(heard)

        await eventually(arrives)
        assert link.disconnects == 0
        server.configure(users('"_INBOX.>"'))
        server.reload()
        await eventually(lambda: link.problem == "NATS does not permit subscribing to live.x", within_s=20)


@pytest.mark.integration
@pytest.mark.native
async def test_what_is_permitted_when_nats_comes_back_is_no_problem_any_more(server: NativeNats) -> None:
    server.configure(users('"_INBOX.>"'))
    server.start()
    async with linked(settings(server)) as link:
        listen(link, "live.x")
        await eventually(lambda: link.problem is not None)
        server.stop()
        server.configure(users('"_INBOX.>", "live.>"'))
        server.start()
        await eventually(lambda: link.is_connected and link.problem is None)
