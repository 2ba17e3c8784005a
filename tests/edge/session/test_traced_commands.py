"""Which commands begin a trace, what of it their actions and facts carry, and when their spans end."""

from __future__ import annotations

from typing import Any

from proto.codes import INTERNAL
from proto.replies import PublishResult, RPCResult
from services.chassis.tracing.span import Span
from services.edge.backend import hook_results
from services.edge.channels.subscription import AttachRequest
from services.edge.session.actions import CallBackend, Publish
from services.edge.session.effects import Effect, EndSpan, Record
from services.edge.session.outcomes import Failed, Replied
from tests.chassis.tracing.receiver_double import KeptSpans, tracer
from tests.edge.conversation import ATTACHED, Conversation, started, token

TRACE, CAUSE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PUBLISH = {"id": 3, "publish": {"channel": "open:x", "data": 1}}


def traced(ratio: float = 1, **section: Any) -> Conversation:
    return Conversation(tracer=tracer(KeptSpans(), ratio), **section).connected()


def ended(effects: list[Effect]) -> list[Span]:
    """The spans that end, in order."""
    return [effect.span for effect in effects if isinstance(effect, EndSpan)]


def traces_of_facts(effects: list[Effect]) -> list[str | None]:
    records = [effect for effect in effects if isinstance(effect, Record)]
    return [None if record.trace is None else record.trace.span_id for record in records]


class TestWhatIsTraced:
    def test_nothing_without_a_tracer_and_nothing_that_is_not_sampled(self):
        for conversation in (Conversation().connected(), traced(0)):
            action = conversation.does(Publish, PUBLISH)
            assert action.trace is None
            assert ended(conversation.completes(action, Replied(PublishResult()))) == []

    def test_a_command_until_its_reply(self):
        conversation = traced()
        action = conversation.does(Publish, PUBLISH)
        assert ended(conversation.effects) == [] and action.trace is not None
        assert (action.trace.name, action.trace.attributes["fairlead.channel"]) == ("command publish", "open:x")
        assert ended(conversation.completes(action, Replied(PublishResult()))) == [action.trace]
        assert conversation.state.trace is None

    def test_a_command_that_needs_nothing_ends_at_once(self):
        conversation = traced()
        conversation.subscribed("open:x")
        (span,) = ended(conversation.says({"id": 3, "unsubscribe": {"channel": "open:x"}}))
        assert span.name == "command unsubscribe" and not span.error

    def test_it_is_called_by_its_kind(self):
        conversation = traced()
        for kind in ("presence", "presence_stats", "history", "unsubscribe", "sub_refresh"):
            (span,) = ended(conversation.says({"id": 3, kind: {"channel": "none:x"}}))
            assert (span.name, span.attributes["fairlead.channel"]) == (f"command {kind}", "none:x")

    def test_a_refusal_says_why(self):
        (span,) = ended(traced().says({"id": 3, "subscribe": {"channel": "none:x"}}))
        assert span.error == "102 unknown channel"

    def test_an_action_that_fails_says_why(self):
        conversation = traced()
        action = conversation.does(Publish, PUBLISH)
        (span,) = ended(conversation.completes(action, Failed(INTERNAL)))
        assert span.error.startswith("100 ")

    def test_a_hook_and_what_follows_from_it_are_one_command(self):
        conversation = traced()
        asked, _ = conversation.asks({"id": 3, "publish": {"channel": "asked:x", "data": 1}})
        effects = conversation.decided(asked, hook_results.Accepted())
        publish = started(effects)
        assert asked.trace is not None and publish.trace is asked.trace and ended(effects) == []
        assert ended(conversation.completes(publish, Replied(PublishResult()))) == [asked.trace]

    def test_a_command_that_waits_has_its_own_span(self):
        conversation = traced()
        first = conversation.does(Publish, PUBLISH)
        assert conversation.says({"id": 4, "subscribe": {"channel": "open:x"}}) == []
        effects = conversation.completes(first, Replied(PublishResult()))
        second = started(effects)
        assert isinstance(second, AttachRequest) and second.trace is not first.trace
        assert ended(effects) == [first.trace]

    def test_rpcs_that_run_beside_each_other_or_wait_apart(self):
        conversation = traced(concurrency=1)
        first = conversation.does(CallBackend, {"id": 3, "rpc": {"method": "a"}})
        conversation.says({"id": 4, "rpc": {"method": "b"}})
        effects = conversation.completes(first, Replied(RPCResult()))
        second = started(effects)
        assert ended(effects) == [first.trace]
        assert second.trace is not None and second.trace.attributes["rpc.method"] == "b"

    def test_a_command_that_outlives_its_connection(self):
        conversation = traced()
        action = conversation.does(AttachRequest, {"id": 3, "subscribe": {"channel": "open:x"}})
        assert ended(conversation.session.ended(1006, "", conversation.now)) == []
        assert ended(conversation.completes(action, ATTACHED)) == [action.trace]


class TestFacts:
    def test_carry_the_span_of_the_command_that_caused_them(self):
        conversation = traced()
        action = conversation.does(AttachRequest, {"id": 3, "subscribe": {"channel": "open:x"}})
        assert action.trace is not None
        assert traces_of_facts(conversation.completes(action, ATTACHED)) == [action.trace.context.span_id]

    def test_of_a_connect(self):
        conversation = Conversation(tracer=tracer(KeptSpans()))
        effects = conversation.says({"id": 1, "connect": {"token": token()}})
        (span,) = ended(effects)
        assert traces_of_facts(effects) == [span.context.span_id]

    def test_that_no_command_caused_carry_none(self):
        conversation = traced()
        conversation.subscribed("open:x")
        assert traces_of_facts(conversation.session.ended(1006, "", conversation.now)) == [None]


class TestTheClientsOwnTrace:
    def connect(self, ratio: float, parent: str) -> list[Span]:
        headers = {"traceparent": parent, "tracestate": "vendor=1"}
        conversation = Conversation(tracer=tracer(KeptSpans(), ratio))
        return ended(conversation.says({"id": 1, "connect": {"token": token(), "headers": headers}}))

    def test_a_connect_goes_on_with_it(self):
        (span,) = self.connect(1, f"00-{TRACE}-{CAUSE}-01")
        assert (span.context.trace_id, span.context.state) == (TRACE, "vendor=1")
        assert span.parent is not None and span.parent.span_id == CAUSE

    def test_strangers_do_not_decide_how_much_is_traced(self):
        assert self.connect(0, f"00-{TRACE}-{CAUSE}-01") == []

    def test_what_is_malformed_begins_a_trace_of_its_own(self):
        (span,) = self.connect(1, "junk")
        assert span.parent is None
