"""A backend behind HTTP: what it is asked, and what each bad answer of it comes to."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from proto.codes import CloseCode
from proto.signature import is_signed
from proto.trace_context import encode_parent
from services.chassis.tracing.span import SERVER, working_in
from services.edge.arrival import Arrival
from services.edge.backend import backend_http
from services.edge.backend.backend import BackendAway, BackendDisconnect, BackendError, BadAnswer, Caller
from services.edge.backend.backend_http import HttpBackend
from services.edge.backend_settings import BackendSettings, StatusToCode, ToError
from services.edge.hook_settings import ToDisconnect
from tests.chassis.tracing.receiver_double import KeptSpans, tracer
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.http_backend import Answer, answer, http_double

ALICE = Caller(
    "alice", "c1", Raw(b'{"name":"Alice"}'), Raw(b'{"plan":"pro"}'), arrival=Arrival(headers={"cookie": "id=7"})
)
LONG_S, SHORT_S = 10.0, 0.05
QUESTION = b'{"client":"c1"}'
SECRET = "a secret of sixteen or more"
YES = b'{"result":{}}'


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def asking(answers: Answer, closes: bool = False, path: str = "/{event}", **settings: Any) -> AsyncIterator[Any]:
    """A backend, the server behind it, and the clock that the test moves."""
    async with http_double(answers, closes) as double:
        clock = Clock()
        backend = HttpBackend(
            BackendSettings(name="app", url=double.url + path, **settings), clock, lambda: 1_796_000_000
        )
        try:
            yield backend, double, clock
        finally:
            await backend.close()


async def cause_of(backend: HttpBackend, event: str = "connect", timeout_s: float = LONG_S) -> tuple[str, str]:
    """How a question fails: the kind of the failure, and its cause."""
    try:
        await backend.ask(event, QUESTION, ALICE, timeout_s)
    except (BackendAway, BadAnswer) as failure:
        return type(failure).__name__, failure.cause
    raise AssertionError("it got an answer")


async def test_a_hook_is_a_post_of_its_question_to_the_address_of_its_event() -> None:
    async with asking(lambda asked: answer(YES), secret=SECRET, http_headers=["Cookie"]) as (backend, double, _):
        for event in ("connect", "subscribe"):
            assert await backend.ask(event, QUESTION, ALICE, LONG_S) == YES
        connect, subscribe = double.asked
        assert (connect.path, subscribe.path) == ("/connect", "/subscribe")
        assert connect.body == QUESTION and connect.headers["content-type"] == "application/json"
        assert connect.headers["cookie"] == "id=7" and connect.headers["user-agent"].startswith("Fairlead/")
        assert is_signed([SECRET], connect.headers["fairlead-signature"], connect.body, 1_796_000_000)
        assert connect.connection == subscribe.connection, "it is kept for the next question"


async def test_without_a_place_for_the_event_everything_is_asked_at_one_address() -> None:
    async with asking(lambda asked: answer(YES), path="/centrifugo?x=1") as (backend, double, _):
        await backend.ask("connect", QUESTION, ALICE, LONG_S)
        assert double.asked[0].path == "/centrifugo?x=1"


async def test_an_rpc_is_a_question_too_and_its_answer_is_any_bytes() -> None:
    async with asking(lambda asked: answer({"result": {"data": asked.question}})) as (backend, double, _):
        told = json.loads(await backend.call("greet", b'{"a":1}', ALICE, LONG_S))
        assert told == {
            "client": "c1",
            "transport": "websocket",
            "protocol": "json",
            "encoding": "json",
            "user": "alice",
            "method": "greet",
            "data": {"a": 1},
        }
        told = json.loads(await backend.call("", b"\xff\x00", ALICE, LONG_S))
        assert (told["encoding"], told["b64data"]) == ("binary", "/wA=") and "data" not in told and "method" not in told
        assert double.asked[0].path == "/rpc"
    async with asking(lambda asked: answer({"result": {"b64data": "/wA="}})) as (backend, _, _):
        assert await backend.call("greet", b"", ALICE, LONG_S) == b"\xff\x00"
        with pytest.raises(BackendError) as caught:
            await backend.call("a..b", b"", ALICE, LONG_S)
        assert caught.value.code == 104
    async with asking(lambda asked: answer({})) as (backend, _, _):
        assert await backend.call("greet", b"", ALICE, LONG_S) == b"", "as with Centrifugo"


async def test_meta_and_base64_are_told_to_whom_the_settings_say() -> None:
    more: dict[str, Any] = {"include_connection_meta": True, "binary_encoding": True}
    async with asking(lambda asked: answer({"result": {"data": asked.question}}), **more) as (backend, _, _):
        told = json.loads(await backend.call("greet", b"{}", ALICE, LONG_S))
        assert (told["meta"], told["encoding"], told["b64data"]) == ({"plan": "pro"}, "binary", "e30=")


async def test_an_rpc_s_error_and_disconnect() -> None:
    answers = {
        "no": {"error": {"code": 1000, "message": "custom error"}},
        "out": {"disconnect": {"code": 4500, "reason": "disconnect reason"}},
        "away": {"disconnect": {"code": 4000}},
    }
    async with asking(lambda asked: answer(answers[asked.question["method"]])) as (backend, _, _):
        with pytest.raises(BackendError) as error:
            await backend.call("no", b"", ALICE, LONG_S)
        assert error.value.error == (1000, "custom error", False)
        with pytest.raises(BackendDisconnect) as end:
            await backend.call("out", b"", ALICE, LONG_S)
        assert end.value.close == CloseCode(4500, "disconnect reason")
        with pytest.raises(BackendDisconnect) as end:
            await backend.call("away", b"", ALICE, LONG_S)
        assert end.value.close == CloseCode(4000, "disconnected")


async def test_a_status_may_stand_for_an_error_or_a_disconnect() -> None:
    transforms = [
        StatusToCode(status_code=404, to_error=ToError(code=404, message="not found")),
        StatusToCode(status_code=503, to_disconnect=ToDisconnect(code=4503, reason="closed")),
    ]
    statuses = {"nobody": "404 Not Found", "closed": "503 Service Unavailable"}
    async with asking(
        lambda asked: answer(b"<html>", statuses[asked.question["method"]]), status_to_code_transforms=transforms
    ) as (backend, _, _):
        with pytest.raises(BackendError) as error:
            await backend.call("nobody", b"", ALICE, LONG_S)
        assert error.value.error == (404, "not found", False)
        with pytest.raises(BackendDisconnect) as end:
            await backend.call("closed", b"", ALICE, LONG_S)
        assert end.value.close == CloseCode(4503, "closed")


@pytest.mark.parametrize(
    ("written", "failure"),
    [
        (answer(b"<html>Oops</html>", "500 Internal Server Error"), ("BadAnswer", "status")),
        (answer(b"", "404 Not Found"), ("BadAnswer", "status")),
        (answer(b"", "302 Found", "Location: http://127.0.0.1:1/inside\r\n"), ("BadAnswer", "status")),
        (answer(b"", "204 No Content"), ("BadAnswer", "status")),
        (answer(b"", "502 Bad Gateway"), ("BackendAway", "away")),
        (answer(b"", "503 Service Unavailable"), ("BackendAway", "away")),
        (answer(b"x" * 10_000_000), ("BadAnswer", "bad_answer")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", ("BadAnswer", "bad_answer")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", ("BadAnswer", "bad_answer")),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", ("BadAnswer", "bad_answer")),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ("BadAnswer", "bad_answer")),
        (b"", ("BackendAway", "away")),
    ],
    ids=["500", "404", "redirect", "204", "502", "503", "10 MB", "half", "half a chunk", "head", "no HTTP", "silence"],
)
async def test_each_bad_answer_has_its_cause_and_the_next_question_gets_its_own(
    written: bytes, failure: tuple[str, str]
) -> None:
    async with asking(lambda asked: written, closes=True) as (backend, double, _):
        assert await cause_of(backend) == failure
        double.answers = lambda asked: answer(YES)
        assert await backend.ask("connect", QUESTION, ALICE, LONG_S) == YES


async def test_no_answer_ends_at_the_deadline_that_is_the_shorter_one() -> None:
    async def never(asked: object) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with asking(never) as (backend, _, _):
        assert await cause_of(backend, timeout_s=SHORT_S) == ("BackendAway", "timeout")
    async with asking(never, timeout=SHORT_S) as (backend, _, _):
        assert await cause_of(backend) == ("BackendAway", "timeout")


async def test_an_answer_that_drips_does_not_outlive_the_deadline() -> None:
    async def drip(asked: object) -> bytes:
        await asyncio.sleep(0)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"

    async with asking(drip) as (backend, _, _):
        assert await cause_of(backend, timeout_s=SHORT_S) == ("BackendAway", "timeout")


async def test_nobody_listens(unused_tcp_port: int) -> None:
    settings = BackendSettings(name="app", url=f"http://127.0.0.1:{unused_tcp_port}/")
    backend = HttpBackend(settings, Clock(), lambda: 0.0)
    assert await cause_of(backend) == ("BackendAway", "away")
    await backend.close()


async def test_a_failure_tells_its_reason_in_one_line_and_no_key_of_the_address(unused_tcp_port: int) -> None:
    async with http_double(lambda asked: b"SSH-2.0-OpenSSH_9.6\r\n", closes=True) as double:
        reasons = {
            double.url: "app sent invalid or incomplete HTTP: Bad status line: Expected HTTP/",
            "http://nobody.invalid": "app cannot be reached: nobody.invalid:80: ",
            f"http://127.0.0.1:{unused_tcp_port}": f"app cannot be reached: 127.0.0.1:{unused_tcp_port}: ",
        }
        for url, reason in reasons.items():
            settings = BackendSettings(name="app", url=f"{url}/hook?key=hidden")
            backend = HttpBackend(settings, Clock(), lambda: 0.0)
            with pytest.raises((BackendAway, BadAnswer)) as caught:
                await backend.ask("connect", QUESTION, ALICE, LONG_S)
            text = str(caught.value)
            assert text.startswith(reason) and "\n" not in text and "hidden" not in text and " object at " not in text
            await backend.close()


async def test_a_certificate_that_nobody_vouches_for_is_no_backend_and_one_of_the_authority_is(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.certificate("backend"))
    async with http_double(lambda asked: answer(YES), tls=context) as double:
        strangers = HttpBackend(BackendSettings(name="app", url=double.url), Clock(), lambda: 0.0)
        known = BackendSettings(name="app", url=double.url, ca_file=str(authority.file))
        backend = HttpBackend(known, Clock(), lambda: 0.0)
        with pytest.raises(BackendAway, match=r"the TLS of app failed: 127.0.0.1:\d+: .*certificate") as failure:
            await strangers.ask("connect", QUESTION, ALICE, LONG_S)
        assert failure.value.cause == "tls"
        assert double.asked == []
        assert await backend.ask("connect", QUESTION, ALICE, LONG_S) == YES
        await strangers.close()
        await backend.close()


async def test_questions_at_once_are_bounded_and_the_others_wait_for_their_turn() -> None:
    async def slowly(asked: object) -> bytes:
        await asyncio.sleep(0.01)
        return answer(YES)

    async with asking(slowly, max_in_flight=3) as (backend, double, _):
        answers = await asyncio.gather(*(backend.ask("connect", QUESTION, ALICE, LONG_S) for _ in range(30)))
        assert answers == [YES] * 30
        assert double.most_at_once == 3 and double.connections == 3


async def test_a_question_that_found_no_place_is_busy_and_says_nothing_of_the_backend() -> None:
    async def hold(asked: object) -> bytes:
        await release.wait()
        return answer(YES)

    release = asyncio.Event()
    async with asking(hold, max_in_flight=1, breaker_failures=2) as (backend, double, _):
        held = asyncio.create_task(backend.ask("connect", QUESTION, ALICE, LONG_S))
        await eventually(lambda: double.asked)
        for _ in range(3):
            assert await cause_of(backend, timeout_s=SHORT_S) == ("BackendAway", "busy")
        release.set()
        assert await held == YES and len(double.asked) == 1
        assert await backend.ask("connect", QUESTION, ALICE, LONG_S) == YES, "its breaker did not open"


async def test_beyond_the_questions_that_may_wait_it_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_http, "MAX_IN_FLIGHT", 2)

    async def hold(asked: object) -> bytes:
        await release.wait()
        return answer(YES)

    release = asyncio.Event()
    async with asking(hold) as (backend, _, _):
        held = [asyncio.create_task(backend.ask("connect", QUESTION, ALICE, LONG_S)) for _ in range(2)]
        await asyncio.sleep(0)
        assert await cause_of(backend) == ("BackendAway", "busy")
        release.set()
        assert await asyncio.gather(*held) == [YES, YES]


async def test_a_backend_that_fails_in_a_row_is_left_alone_and_tried_by_one_question(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with asking(lambda asked: b"", closes=True, breaker_failures=2, breaker_pause=3) as (backend, double, clock):
        assert [await cause_of(backend, "publish") for _ in range(2)] == [("BackendAway", "away")] * 2
        for _ in range(5):
            assert await cause_of(backend, "publish") == ("BackendAway", "open")
        assert len(double.asked) == 2, "it was not asked meanwhile"
        assert caplog.text.count("the backend app is away, and is not asked for 3 s: app cannot be reached") == 1
        double.answers, double.closes = lambda asked: answer(YES), False
        clock.now += 3
        assert await backend.ask("publish", QUESTION, ALICE, LONG_S) == YES
        assert await backend.ask("publish", QUESTION, ALICE, LONG_S) == YES
        assert caplog.text.count("the backend app answers again") == 1


@pytest.mark.parametrize("status", ["500 Internal Server Error", "403 Forbidden", "302 Found"])
async def test_what_a_client_may_provoke_does_not_take_the_backend_from_others(status: str) -> None:
    async with asking(lambda asked: answer(b"", status), breaker_failures=1) as (backend, _, _):
        for _ in range(3):
            assert await cause_of(backend) == ("BadAnswer", "status")


@pytest.mark.parametrize(
    ("event", "asked"),
    [("connect", 2), ("subscribe", 2), ("refresh", 2), ("sub_refresh", 2), ("publish", 1), ("rpc", 1)],
)
async def test_only_a_question_that_changes_nothing_is_asked_again_when_its_connection_breaks(
    event: str, asked: int
) -> None:
    async with asking(lambda asked: b"", closes=True) as (backend, double, _):
        if event == "rpc":
            with pytest.raises(BackendAway):
                await backend.call("greet", b"{}", ALICE, LONG_S)
        else:
            assert await cause_of(backend, event) == ("BackendAway", "away")
        assert len(double.asked) == asked


async def test_a_backend_s_cookie_is_not_sent_with_the_question_of_another_client() -> None:
    async with asking(lambda asked: answer(YES, headers="Set-Cookie: id=7\r\n")) as (backend, double, _):
        for _ in range(2):
            await backend.ask("connect", QUESTION, Caller(), LONG_S)
        assert all("cookie" not in asked.headers for asked in double.asked)


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with asking(lambda asked: answer(YES)) as (backend, _, _):
        assert await backend.ask("connect", QUESTION, ALICE, LONG_S) == YES


async def test_a_traced_question_carries_its_span_and_nothing_of_the_client_is_in_that() -> None:
    async with asking(lambda asked: answer(YES)) as (backend, double, _):
        kept = KeptSpans()
        with working_in(tracer(kept).begin("command connect", SERVER, None, {})):
            await backend.ask("connect", QUESTION, ALICE, LONG_S)
        (span,) = kept.spans
        assert double.asked[0].headers["traceparent"] == encode_parent(span.context)
        assert span.name == "hook connect" and ALICE.user not in str(span.attributes)


async def test_a_question_that_is_in_progress_when_the_edge_stops_has_no_answer() -> None:
    async def hold(asked: object) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with asking(hold) as (backend, double, _):
        in_progress = asyncio.create_task(cause_of(backend, "connect"))
        await eventually(lambda: double.asked)
        await backend.close()
        assert await in_progress == ("BackendAway", "away")
        assert await cause_of(backend, "publish") == ("BackendAway", "away")


async def test_a_message_without_an_answer_is_not_asked() -> None:
    async with asking(lambda asked: answer(YES)) as (backend, double, _):
        backend.send(b"1", ALICE)
        await backend.ask("connect", QUESTION, ALICE, LONG_S)
        assert [asked.path for asked in double.asked] == ["/connect"]
