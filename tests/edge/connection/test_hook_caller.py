"""A backend's decision, and the result when it refuses, is unusable or does not come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec import Raw

from proto import codes
from proto.commands import Command
from services.chassis.tracing.span import Span
from services.edge.backend import hook_results
from services.edge.backend.backend import BackendError, Caller
from services.edge.backend.backends import Backends
from services.edge.backend.hook_results import Refused
from services.edge.connection.hook_caller import EXTENDED_WHEN_AWAY_S, HookCaller
from services.edge.connection.refusal_log import RefusalLog
from services.edge.grants import Grant
from services.edge.session.actions import AskHook
from services.edge.session.outcomes import HookResult
from services.edge.tally import Tally
from tests.support.function_backend import FunctionBackend

NOW = 1_767_225_600.5
CALLER = Caller("42", "c1")
EVENTS = ("connect", "subscribe", "publish", "refresh", "sub_refresh")


class Log(RefusalLog):
    """Keeps the data written to it."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self.lines: list[tuple[str, str]] = []

    def write(
        self, what: str, why: str, fields: Mapping[str, object], trace: Span | None = None, kind: str = ""
    ) -> None:
        assert (fields["user"], fields["client"]) == (CALLER.user, CALLER.client)
        assert fields["backend"] == "app", "whom to look at"
        self.lines.append((what, why))


async def answer_to(
    event: str,
    answer: object,
    allow: bool = False,
    away: bool = False,
    log: Log | None = None,
    tally: Tally | None = None,
) -> HookResult:
    def function(question: bytes, caller: Caller | None) -> bytes:
        assert (question, caller) == (b'{"q":1}', CALLER)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    backend = FunctionBackend(hooks={event: function} if answer is not None else {})
    backend.away = away
    asked = AskHook(event, Command(id=1), b'{"q":1}', CALLER, 1.0, allow, "app")
    return await HookCaller(Backends({"app": backend}), log or Log(), tally or Tally()).ask(asked, NOW)


@pytest.mark.parametrize(
    ("event", "result", "expected"),
    [
        ("connect", {"user": "7", "channels": ["a"]}, hook_results.Admitted(user="7", subs={"a": Grant()})),
        ("subscribe", {"expire_at": 7}, Grant(expires_at=7)),
        ("publish", {"data": {"a": 1}}, hook_results.Accepted(data=b'{"a": 1}')),
        ("refresh", {"expire_at": 7, "info": 1}, hook_results.Extended(expires_at=7, info=Raw(b"1"))),
        ("refresh", {"expired": True}, hook_results.Expired()),
    ],
)
async def test_each_event_has_its_own_answer(event: str, result: dict[str, Any], expected: HookResult) -> None:
    assert await answer_to(event, {"result": result}) == expected


async def test_nobody_known_is_an_answer_to_connect_only() -> None:
    assert await answer_to("connect", {}) == hook_results.Unauthenticated()
    for event in EVENTS[1:]:
        refused = await answer_to(event, {})
        assert isinstance(refused, Refused) and refused.error == codes.INTERNAL


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("allow", [True, False])
class TestEveryEvent:
    """An answer of the backend counts, whatever `hook_when_away` is."""

    async def test_refused_or_expelled(self, event: str, allow: bool) -> None:
        error = {"error": {"code": 403, "message": "no", "temporary": True}}
        assert await answer_to(event, error, allow) == Refused(codes.ErrorCode(403, "no", True))
        end = {"disconnect": {"code": 4501, "reason": "banned"}}
        assert await answer_to(event, end, allow) == hook_results.Disconnected(codes.CloseCode(4501, "banned"))

    async def test_an_error_of_the_transport_is_one_for_the_client(self, event: str, allow: bool) -> None:
        assert await answer_to(event, BackendError(1000, "mine"), allow) == Refused(codes.ErrorCode(1000, "mine"))

    @pytest.mark.parametrize("answer", [b"", b"{", b"\xff", b"[]", b"7", b'{"result":7}', b'{"error":{"code":1}}'])
    async def test_an_unusable_answer_is_no_yes(self, event: str, allow: bool, answer: bytes) -> None:
        log, tally = Log(), Tally()
        refused = await answer_to(event, answer, allow, log=log, tally=tally)
        assert tally.backend_failures == {("app", f"hook.{event}", "bad_answer"): 1}
        ((what, why),) = log.lines
        assert event in what and "unusable" in what and why
        assert refused == Refused(codes.INTERNAL, why)


@pytest.mark.parametrize("nobody", [True, False])
async def test_a_backend_that_is_away_says_what_the_settings_say(nobody: bool) -> None:
    allowed: dict[str, HookResult] = {
        "connect": hook_results.Admitted(),
        "subscribe": Grant(),
        "publish": hook_results.Accepted(),
        "refresh": hook_results.Extended(expires_at=int(NOW) + EXTENDED_WHEN_AWAY_S),
        "sub_refresh": hook_results.Extended(expires_at=int(NOW) + EXTENDED_WHEN_AWAY_S),
    }
    for event in EVENTS:
        answer: object = None if nobody else {"result": {}}
        log = Log()
        assert await answer_to(event, answer, allow=True, away=not nobody, log=log) == allowed[event]
        assert await answer_to(event, answer, allow=False, away=not nobody, log=log) == Refused(codes.INTERNAL)
        assert len(log.lines) == 2 and all(event in what for what, _ in log.lines)
