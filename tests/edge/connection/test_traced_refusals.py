"""What is logged of a command that is traced has the ids of its trace; what it causes elsewhere goes on with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from proto.control import Members, Selector, SubscribeUser
from proto.events import Subscribed
from services.chassis.tracing.span import SERVER, Span, active_context
from services.edge.backend.backend import Caller
from services.edge.broker.broker_memory import MAX_PUBLICATION_BYTES
from tests.chassis.tracing.receiver_double import KeptSpans, tracer
from tests.edge.talks import connected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend


class Traces(logging.Handler):
    """The trace in which each line is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.by_line: dict[str, str | None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.by_line[record.getMessage()] = None if (context := active_context()) is None else context.trace_id

    def of(self, part: str) -> str | None:
        (trace,) = [trace for line, trace in self.by_line.items() if part in line]
        return trace


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Traces]:
    caplog.set_level(logging.INFO)
    traces = Traces()
    logging.getLogger().addHandler(traces)
    yield traces
    logging.getLogger().removeHandler(traces)


@pytest.fixture
def kept() -> KeptSpans:
    return KeptSpans()


@pytest.fixture
async def edge(kept: KeptSpans) -> TestEdge:
    return await TestEdge(EdgeCluster(), tracer=tracer(kept), allow_send=True).start()


def trace_of(kept: KeptSpans, name: str) -> str:
    (span,) = [span for span in kept.spans if span.name == name]
    return span.context.trace_id


class TestLines:
    async def test_of_a_command_that_is_refused(self, edge, kept, lines):
        talk = await connected(edge)
        assert await talk.error(subscribe={"channel": "none:x"}) == 102
        assert lines.of("refused: unknown channel") == trace_of(kept, "command subscribe")

    async def test_of_a_command_that_ends_the_connection(self, edge, kept, lines):
        talk = await connected(edge)
        talk.say({"id": 9, "connect": {}})
        assert talk.closed == 3501
        assert lines.of("a connection was closed: bad request") == kept.spans[-1].context.trace_id
        assert kept.names == ["command connect"] * 2

    async def test_of_what_the_broker_refuses(self, edge, kept, lines):
        talk = await connected(edge)
        assert await talk.error(publish={"channel": "chat:x", "data": "x" * MAX_PUBLICATION_BYTES}) == 106
        assert lines.of("the broker refused") == trace_of(kept, "command publish")

    async def test_of_what_is_not_traced(self, lines):
        edge = await TestEdge(EdgeCluster(), tracer=tracer(KeptSpans(), 0)).start()
        talk = await connected(edge)
        assert await talk.error(subscribe={"channel": "none:x"}) == 102
        assert lines.of("refused: unknown channel") is None


class Forwards(FunctionBackend):
    """Keeps the span of the command behind each message."""

    def __init__(self) -> None:
        super().__init__()
        self.causes: list[Span | None] = []

    def send(self, data: bytes, caller: Caller, cause: Span | None = None) -> None:
        self.causes.append(cause)


async def test_a_message_for_backends_goes_on_with_the_trace_of_its_command(kept: KeptSpans) -> None:
    backend = Forwards()
    edge = await TestEdge(EdgeCluster(), backend=backend, tracer=tracer(kept), allow_send=True).start()
    talk = await connected(edge)
    talk.say({"send": {"data": 1}})
    (cause,) = backend.causes
    assert cause is not None and cause.context.trace_id == trace_of(kept, "command send")


class TestWhatAnEdgeIsAskedByAnother:
    async def test_is_a_step_of_the_trace_and_so_is_the_fact_of_each_connection(self, edge, kept):
        talks = [await connected(edge) for _ in range(2)]
        asking = tracer(kept).begin("api subscribe", SERVER, None, {})
        before = len(kept.spans)
        await edge.control_handler.answer(SubscribeUser(Selector(""), "chat:x"), asking.context)
        await eventually(lambda: all(talk.channels == ["chat:x"] for talk in talks))
        (span,) = kept.spans[before:]
        assert (span.name, span.parent) == ("control subscribe_user", asking.context)
        facts = zip(edge.sessions.events, edge.sessions.traces, strict=True)
        assert [trace for fact, trace in facts if isinstance(fact, Subscribed)] == [span.context] * 2

    async def test_is_not_traced_unless_the_asking_one_is(self, edge, kept):
        edge.control_handler.answer(Members("chat:x"))
        assert kept.spans == []

    async def test_a_line_about_it_has_the_trace(self, edge, kept, lines):
        await connected(edge)
        asking = tracer(kept).begin("api subscribe", SERVER, None, {})
        await edge.control_handler.answer(SubscribeUser(Selector(""), "none:x"), asking.context)
        assert lines.of("a backend's subscribe was refused") == asking.context.trace_id
