from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

import nats
import nats.micro
import pytest
from msgspec import Raw
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.request import Request, ServiceError

from proto import codes, subjects
from proto.commands import ConnectRequest
from proto.trace_context import encode_parent
from services.chassis.nats.link import NatsLink
from services.chassis.nats.settings import NatsSettings
from services.chassis.tracing.span import SERVER, working_in
from services.edge.backend import hook_answers, hook_questions, hook_results
from services.edge.backend.backend import Backend, BackendAway, BackendError, BadAnswer, Caller
from services.edge.backend.backend_nats import NatsBackend
from services.edge.grants import Grant
from tests.chassis.tracing.receiver_double import KeptSpans, tracer
from tests.contract.backend import ALICE, ANYBODY, LONG_S, SHORT_S, BackendContract, Seen, echo
from tests.support.eventually import eventually
from tests.support.function_backend import Function
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "examples" / "backend.py"


@asynccontextmanager
async def edge(url: str, max_in_flight: int = 10_000) -> AsyncIterator[NatsBackend]:
    link = NatsLink(NatsSettings(url=url), "test")
    await link.open()
    try:
        yield NatsBackend(link, max_in_flight)
    finally:
        await link.close()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Client]:
    """The client that backends are written with: nats-py, unmodified."""
    made = await nats.connect(url)
    try:
        yield made
    finally:
        await made.close()


async def settled(connection: Client) -> None:
    """The server knows of its subscriptions. (`flush` sends its ping ahead of what is still pending.)"""
    inbox = connection.new_inbox()
    echoes = await connection.subscribe(inbox)
    await connection.publish(inbox, b"")
    await echoes.next_msg(LONG_S)
    await echoes.unsubscribe()


def caller_of(headers: Mapping[str, str] | None) -> Caller | None:
    """As a backend reads the headers."""
    if headers is None:
        return None
    return Caller(
        user=unquote(headers["Fairlead-User"]),
        client=unquote(headers["Fairlead-Client"]),
        conn_info=Raw(headers.get("Fairlead-Info", "").encode("ascii")),
        meta=Raw(headers.get("Fairlead-Meta", "").encode("ascii")),
        transport=headers["Fairlead-Transport"],
        encoding=headers["Fairlead-Encoding"],
    )


async def run(function: Function, data: bytes, headers: Mapping[str, str] | None) -> bytes:
    answer = function(data, caller_of(headers))
    return answer if isinstance(answer, bytes) else await answer


def plain(connection: Client, function: Function) -> Callable[[Msg], Awaitable[None]]:
    async def answer(message: Msg) -> None:
        try:
            await message.respond(await run(function, message.data, message.headers))
        except BackendError as error:
            headers = {"Nats-Service-Error-Code": str(error.code), "Nats-Service-Error": error.message}
            if error.temporary:
                headers["Fairlead-Error-Temporary"] = "true"
            await connection.publish(message.reply, b"", headers=headers)

    return answer


def by_subject(rpc: dict[str, Function], hooks: dict[str, Function]) -> dict[str, Function]:
    return {subjects.rpc(method): function for method, function in rpc.items()} | {
        subjects.hook(event): function for event, function in hooks.items()
    }


class NatsContract(BackendContract):
    @pytest.fixture
    def address(self, nats_server: NatsServer) -> str:
        return nats_server.url


class TestPlainClient(NatsContract):
    @asynccontextmanager
    async def backend(self, rpc: dict[str, Function], hooks: dict[str, Function]) -> AsyncIterator[Backend]:
        async with client(self.server) as connection, edge(self.server) as made:
            for subject, function in by_subject(rpc, hooks).items():
                await connection.subscribe(subject, "backends", plain(connection, function))
            await settled(connection)
            yield made


def service(function: Function) -> Callable[[Request], Awaitable[None]]:
    async def answer(request: Request) -> None:
        try:
            await request.respond(await run(function, request.data, request.headers))
        except BackendError as error:
            if error.temporary:
                headers = {"Fairlead-Error-Temporary": "true"}
                await request.respond_error(str(error.code), error.message, headers=headers)
            else:
                raise ServiceError(str(error.code), error.message) from None

    return answer


class TestMicroService(NatsContract):
    @asynccontextmanager
    async def backend(self, rpc: dict[str, Function], hooks: dict[str, Function]) -> AsyncIterator[Backend]:
        async with client(self.server) as connection, edge(self.server) as made:
            running = await nats.micro.add_service(connection, name="shop", version="1.0.0")
            for number, (subject, function) in enumerate(by_subject(rpc, hooks).items()):
                await running.add_endpoint(name=f"e{number}", subject=subject, handler=service(function))
            await settled(connection)
            yield made


async def test_the_subjects_are_those_of_the_docs(nats_server):
    seen: list[str] = []
    async with client(nats_server.url) as backend, edge(nats_server.url) as a:

        async def note(message: Msg) -> None:
            seen.append(message.subject)
            await message.respond(b"")

        await backend.subscribe("rpc.orders.>", "backends", note)
        await backend.subscribe("rpc.%", "backends", note)
        await backend.subscribe("hook.*", "backends", note)
        await settled(backend)
        for method in ("orders.list", "orders.by.day", "orders.a b", ""):
            await a.call(method, b"", ANYBODY, LONG_S)
        await a.ask("connect", b"", None, LONG_S)
        assert seen == ["rpc.orders.list", "rpc.orders.by.day", "rpc.orders.a%20b", "rpc.%", "hook.connect"]
        with pytest.raises(BackendAway):
            await a.call("orders", b"", ANYBODY, LONG_S)


async def test_the_headers_are_printable_ascii_and_those_that_are_empty_absent(nats_server):
    seen: list[dict[str, str]] = []
    async with client(nats_server.url) as backend, edge(nats_server.url) as a:

        async def note(message: Msg) -> None:
            seen.append(message.headers or {})
            await message.respond(b"")

        await backend.subscribe("rpc.*", "backends", note)
        await settled(backend)
        await a.call("x", b"", ALICE, LONG_S)
        await a.call("x", b"", Caller(user="42", client="c-1"), LONG_S)
    assert all(" " <= character <= "~" for value in seen[0].values() for character in value)
    assert seen[1] == {
        "Fairlead-User": "42",
        "Fairlead-Client": "c-1",
        "Fairlead-Transport": "websocket",
        "Fairlead-Encoding": "json",
    }


async def test_backends_of_one_queue_group_share_the_load_and_take_over(nats_server):
    url = nats_server.url
    first, second = Seen(), Seen()
    async with client(url) as one, edge(url) as a:
        await one.subscribe("rpc.work", "backends", plain(one, first))
        await settled(one)
        async with client(url) as two:
            share = await two.subscribe("rpc.work", "backends", plain(two, second))
            await settled(two)
            await asyncio.gather(*(a.call("work", b"", ANYBODY, LONG_S) for _ in range(200)))
            assert len(first.calls) + len(second.calls) == 200
            assert len(first.calls) > 20 and len(second.calls) > 20
            await share.unsubscribe()  # NATS would go on to send it some until it notices the end of the connection
            await settled(two)
        await asyncio.gather(*(a.call("work", b"", ANYBODY, LONG_S) for _ in range(50)))
        assert len(first.calls) + len(second.calls) == 250


@pytest.mark.parametrize(
    "headers",
    [
        {"Nats-Service-Error-Code": "no number", "Nats-Service-Error": "x"},
        {"Nats-Service-Error-Code": "4_04", "Nats-Service-Error": "x"},
        {"Nats-Service-Error-Code": "+404"},
        {"Nats-Service-Error-Code": "404.0"},
        {"Nats-Service-Error-Code": "9" * 5000},
        {"Nats-Service-Error-Code": ""},
        {"Nats-Service-Error": "a message alone"},
    ],
)
async def test_an_error_without_a_usable_code_is_a_bad_answer(nats_server, headers):
    async with client(nats_server.url) as backend, edge(nats_server.url) as a:

        async def fail(message: Msg) -> None:
            await backend.publish(message.reply, b"{}", headers=headers)

        await backend.subscribe("rpc.x", cb=fail)
        await settled(backend)
        with pytest.raises(BadAnswer):
            await a.call("x", b"", ANYBODY, LONG_S)


async def test_the_text_of_an_accidental_error_does_not_reach_clients(nats_server):
    async with client(nats_server.url) as connection, edge(nats_server.url) as a:

        async def stumble(request: Request) -> None:
            raise KeyError("name")

        running = await nats.micro.add_service(connection, name="shop", version="1.0.0")
        await running.add_endpoint(name="x", subject="rpc.x", handler=stumble)
        await settled(connection)
        with pytest.raises(BadAnswer, match="KeyError"):
            await a.call("x", b"", ANYBODY, LONG_S)


async def test_a_message_that_wants_no_answer_says_who_sent_it(nats_server):
    async with client(nats_server.url) as connection, edge(nats_server.url) as a:
        heard = await connection.subscribe("send.>")
        await settled(connection)
        a.send(b"\x00any bytes", ALICE)
        message = await heard.next_msg(timeout=LONG_S)
        assert message.data == b"\x00any bytes"
        assert message.headers and unquote(message.headers["Fairlead-User"]) == ALICE.user


async def test_a_message_that_wants_no_answer_is_a_step_of_the_trace(nats_server):
    kept = KeptSpans()
    command = tracer(kept).begin("command send", SERVER, None, {})
    async with client(nats_server.url) as connection, edge(nats_server.url) as a:
        heard = await connection.subscribe("send.>")
        await settled(connection)
        a.send(b"1", ALICE, command)
        message = await heard.next_msg(timeout=LONG_S)
        (span,) = kept.spans
        assert message.headers and message.headers["traceparent"] == encode_parent(span.context)
        assert (span.name, span.parent) == ("send", command.context)
        assert ALICE.user not in str(span.attributes)
        a.send(b"x" * 2 * 1024 * 1024, ALICE, command)
        assert kept.spans[1].error, "it was not sent"


async def test_the_method_which_clients_choose_is_no_part_of_a_span_s_name(nats_server):
    kept = KeptSpans()
    command = tracer(kept).begin("command rpc", SERVER, None, {})
    async with edge(nats_server.url) as a:
        with working_in(command), pytest.raises(BackendAway):
            await a.call("made-up", b"", ANYBODY, LONG_S)
    (span,) = kept.spans
    assert (span.name, span.attributes["messaging.destination.name"]) == ("rpc", "rpc.made-up")


async def test_a_question_larger_than_nats_takes_is_refused(nats_server):
    async with edge(nats_server.url) as a:
        with pytest.raises(BackendError) as caught:
            await a.call("x", b"x" * 2 * 1024 * 1024, ANYBODY, LONG_S)
        assert caught.value.error == codes.LIMIT_EXCEEDED


async def test_questions_in_flight_are_bounded_and_those_that_ended_do_not_count(nats_server):
    asked: list[Msg] = []
    async with client(nats_server.url) as backend, edge(nats_server.url, max_in_flight=2) as a:

        async def keep(message: Msg) -> None:
            asked.append(message)

        await backend.subscribe("rpc.x", cb=keep)
        await settled(backend)
        answered = asyncio.create_task(a.call("x", b"1", ANYBODY, LONG_S))
        given_up = asyncio.create_task(a.call("x", b"2", ANYBODY, LONG_S))
        await eventually(lambda: len(asked) == 2)
        with pytest.raises(BackendAway) as caught:
            await a.call("x", b"3", ANYBODY, LONG_S)
        assert not caught.value.no_responders
        await asked[0].respond(b"done")
        assert await answered == b"done"
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        for _ in range(3):
            with pytest.raises(BackendAway, match="in time"):
                await a.call("x", b"", ANYBODY, SHORT_S)


async def test_when_nats_goes_away_waiting_questions_fail_at_once_and_later_ones_are_answered_again(nats_server):
    asked: list[Msg] = []
    async with client(nats_server.url) as backend, edge(nats_server.url) as a:

        async def keep(message: Msg) -> None:
            asked.append(message)

        await backend.subscribe("rpc.never", cb=keep)
        await backend.subscribe("rpc.echo", cb=plain(backend, echo))
        await settled(backend)
        waiting = asyncio.create_task(a.call("never", b"", ANYBODY, 3600))
        await eventually(lambda: len(asked) == 1)
        nats_server.kill9()
        with pytest.raises(BackendAway) as caught:
            await waiting
        assert not caught.value.no_responders
        with pytest.raises(BackendAway) as caught:
            await a.call("echo", b"", ANYBODY, 3600)
        assert not caught.value.no_responders
        nats_server.start()

        async def answered() -> bool:
            return await a.call("echo", b"1", ANYBODY, SHORT_S) == b"1"

        await eventually(answered)


async def test_the_example_backend_answers_rpc_and_every_hook(nats_server):
    process = await asyncio.create_subprocess_exec(sys.executable, EXAMPLE, nats_server.url)
    try:
        async with edge(nats_server.url) as a:
            alice = Caller(user="alice", client="c")

            async def greeted() -> bytes:
                return await a.call("greet", b'{"greeting": "Hello"}', alice, LONG_S)

            assert await eventually(greeted) == b'{"text": "Hello, alice!"}'
            with pytest.raises(BackendError) as caught:
                await a.call("greet", b"[]", alice, LONG_S)
            assert caught.value.error == (400, 'expected {"greeting": "..."}', False)

            async def ask(event: str, question: bytes) -> bytes:
                return await a.ask(event, question, None, LONG_S)

            question = hook_questions.connect_question(
                Caller(), ConnectRequest(data=Raw(b'{"password": "wonderland"}'))
            )
            admitted = hook_answers.connect_answer(await ask("connect", question))
            assert isinstance(admitted, hook_results.Admitted) and admitted.user == "alice" and admitted.expires_at
            question = hook_questions.connect_question(Caller(), ConnectRequest(data=Raw(b'{"password": "guess"}')))
            assert isinstance(hook_answers.connect_answer(await ask("connect", question)), hook_results.Disconnected)
            question = hook_questions.connect_question(Caller(), ConnectRequest())
            assert hook_answers.connect_answer(await ask("connect", question)) == hook_results.Unauthenticated()

            question = hook_questions.subscribe_question(alice, "chat:alice", b"")
            assert isinstance(hook_answers.subscribe_answer(await ask("subscribe", question)), Grant)
            question = hook_questions.subscribe_question(alice, "chat:bob", b"")
            refused = hook_answers.subscribe_answer(await ask("subscribe", question))
            assert refused == hook_results.Refused(codes.PERMISSION_DENIED)

            question = hook_questions.publish_question(alice, "chat:alice", b'{"text": "hi"}')
            accepted = hook_answers.publish_answer(await ask("publish", question))
            assert accepted == hook_results.Accepted(b'{"text": "hi", "by": "alice"}', tags={"kind": "chat"})
            question = hook_questions.publish_question(alice, "chat:alice", b'"hi"')
            assert isinstance(hook_answers.publish_answer(await ask("publish", question)), hook_results.Refused)

            prolonged = hook_answers.refresh_answer(await ask("refresh", hook_questions.refresh_question(alice)))
            assert isinstance(prolonged, hook_results.Extended) and prolonged.expires_at
            mallory = hook_questions.refresh_question(Caller(user="mallory"))
            assert hook_answers.refresh_answer(await ask("refresh", mallory)) == hook_results.Expired()
    finally:
        process.terminate()
        await process.wait()
