"""A state machine holds the conversation to the promises of docs/architecture.md, with events in any order.

Random commands, commands of backends, outcomes in any order, full sockets and time go in. A model of the shell carries
out the effects: it knows what is attached to which channel and what was written to the client.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any, assert_never

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import Raw

from proto import codes
from proto.codec_json import JSON
from proto.codes import CloseCode
from proto.commands import Command
from proto.events import Closed, Opened, Subscribed, Unsubscribed
from proto.messages import StreamPosition
from proto.replies import PublishResult, RPCResult, SubscribeResult
from services.edge.backend import hook_results
from services.edge.channels.subscription import AttachRequest
from services.edge.grants import Grant
from services.edge.session.actions import (
    Action,
    AskHook,
    CallBackend,
    Connect,
    LookUpKey,
    Publish,
    ReadHistory,
    ReadPresence,
)
from services.edge.session.command_queue import QUEUED_BYTES_CEILING, QUEUED_BYTES_LIMIT, SERVER_COMMANDS_LIMIT
from services.edge.session.outcomes import (
    Attached,
    AttachedAll,
    Failed,
    HookAnswered,
    HookResult,
    KeyLookedUp,
    Outcome,
    Replied,
)
from services.edge.session.server_commands import (
    RefreshClient,
    SendToClient,
    ServerCommand,
    SubscribeClient,
    UnsubscribeClient,
)
from services.edge.session.state import Phase
from tests.edge.conversation import START, token
from tests.edge.session.session_shell import CHANNELS, CONCURRENCY, OPTIONS, QUEUE_LIMIT, Shell

AT_CONNECT = ("open:a", "log:d", "closed:f")
_UNKNOWN = (b'{"alg":"RS256","kid":"new"}', b'{"sub":"42"}', b"signed")
KEY_IS_UNKNOWN = ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in _UNKNOWN)
"""A token with a key that has to be looked up, and is not found."""

channels = st.sampled_from(CHANNELS)
subscribes = st.builds(lambda channel: {"subscribe": {"channel": channel}}, channels)
requests = st.one_of(
    *[subscribes] * 4,  # most of what can go wrong begins with one
    st.builds(lambda channel: {"subscribe": {"channel": channel, "token": KEY_IS_UNKNOWN}}, channels),
    st.builds(lambda channel: {"unsubscribe": {"channel": channel}}, channels),
    st.builds(lambda channel: {"publish": {"channel": channel, "data": {}}}, channels),
    st.builds(lambda channel: {"presence": {"channel": channel}}, channels),
    *[st.just({"rpc": {"method": "m", "data": {}}})] * 3,
)
infos = st.sampled_from((Raw(), Raw(b"1"), Raw(b"2")))
server_commands = st.one_of(
    st.builds(lambda channel: SubscribeClient(channel, Grant()), channels),
    st.builds(
        lambda channel: UnsubscribeClient(channel, codes.UNSUBSCRIBED_BY_SERVER), st.one_of(channels, st.just(""))
    ),
    st.just(SendToClient(Raw(b"{}"))),
    st.builds(RefreshClient, st.sampled_from((0, int(START) + 40, int(START) + 100)), infos),
)


refresh_results: st.SearchStrategy[hook_results.RefreshHookResult] = st.one_of(
    st.builds(hook_results.Extended, st.just(int(START) + 500), infos),
    st.sampled_from((hook_results.Expired(), hook_results.Refused(codes.INTERNAL))),
)


def is_alive(machine: SessionMachine) -> bool:
    """Whether the session is not over. Afterwards only commands, outcomes and a socket that drains still come."""
    return not machine.shell.ended


class SessionMachine(RuleBasedStateMachine):
    """The events, and the invariants after each."""

    def __init__(self) -> None:
        super().__init__()
        self.shell = Shell()
        self.last_id = 1

    # --- events ------------------------------------------------------------------------------------------------------

    @initialize(
        subs=st.sets(st.sampled_from(AT_CONNECT)),
        at_once=st.booleans(),
        by=st.sampled_from(("token", "token", "token", "hook", "unknown key")),
    )
    def connect(self, subs: set[str], at_once: bool, by: str) -> None:
        self.shell.at_once = at_once
        claims = {"subs": {channel: {} for channel in subs}, "exp": int(START) + 30}
        connect = {"token": {"token": token(**claims)}, "hook": {}, "unknown key": {"token": KEY_IS_UNKNOWN}}[by]
        self._say({"id": 1, "connect": connect})

    @rule(asked=st.lists(requests, min_size=1, max_size=4), junk=st.sampled_from((0, 0, 0, 0, 3000, 70_000, 200_000)))
    def say(self, asked: list[dict[str, Any]], junk: int) -> None:
        commands = []
        for request in asked:
            self.last_id += 1
            commands.append({"id": self.last_id, **request})
        self._say(*commands, junk=junk)

    def _say(self, *commands: dict[str, Any], junk: int = 0) -> None:
        shell = self.shell
        lines = b"\n".join(json.dumps(command).encode() for command in commands)
        decoded: list[Command] = JSON.decode_commands(lines, 256)
        shell.asked |= {command["id"]: command for command in commands}
        shell.event(lambda: shell.session.commands(decoded, len(lines) + junk, shell.now))

    @rule(command=server_commands)
    def order(self, command: ServerCommand) -> None:
        shell = self.shell
        shell.event(lambda: shell.session.server_command(command, shell.now))

    @precondition(lambda self: self.shell.pending is not None)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        action = self.shell.pending
        assert action is not None
        self.shell.complete(action, data.draw(outcomes(action)))

    @precondition(lambda self: self.shell.pending is not None)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        """Without it hardly a conversation would get beyond its connect."""
        action = self.shell.pending
        assert action is not None
        self.shell.complete(action, data.draw(successes(action)))

    @precondition(lambda self: self.shell.calls)
    @rule(data=st.data())
    def answer_rpc(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.shell.calls))
        self.shell.complete(call, data.draw(outcomes(call)))

    @precondition(lambda self: self.shell.beside)
    @rule(result=refresh_results)
    def refresh_answered(self, result: hook_results.RefreshHookResult) -> None:
        self.shell.complete(self.shell.beside[0], HookAnswered(result))

    @precondition(lambda self: is_alive(self) and not self.shell.slow)
    @rule()
    def stall(self) -> None:
        shell = self.shell
        shell.slow = True
        shell.event(lambda: shell.session.stalled(shell.now))

    @precondition(is_alive)
    @rule(writes=st.integers(1, 4))
    def stall_in_a_write(self, writes: int) -> None:
        self.shell.fills_at = writes

    @precondition(lambda self: isinstance(self.shell.pending, Connect))
    @rule()
    def attach_one_of_many(self) -> None:
        """The executor has attached the client to a channel, and waits for the next one."""
        assert isinstance(self.shell.pending, Connect)
        if not self.shell.ended:
            self.shell.attached.add(self.shell.pending.channels[0])

    @precondition(lambda self: self.shell.slow and not self.shell.held)
    @rule()
    def catch_up(self) -> None:
        shell = self.shell
        shell.slow = False
        shell.event(lambda: shell.session.caught_up(shell.now))

    @precondition(lambda self: is_alive(self) and self.shell.awaits_turn)
    @rule()
    def take_turn(self) -> None:
        shell = self.shell
        shell.awaits_turn = False
        shell.event(lambda: shell.session.turn(shell.now))

    @precondition(is_alive)
    @rule(seconds=st.sampled_from((0.1, 0.1, 1.0, 5.0, 12.0)))
    def wait(self, seconds: float) -> None:
        shell = self.shell
        shell.now += seconds
        shell.event(lambda: shell.session.tick(shell.now))

    @precondition(is_alive)
    @rule()
    def pong(self) -> None:
        shell = self.shell
        if shell.session.phase is Phase.CONNECTED and shell.pings:
            shell.pings = 0
            shell.event(lambda: shell.session.commands([Command()], 2, shell.now))

    @precondition(is_alive)
    @rule(channel=channels)
    def lose_position(self, channel: str) -> None:
        shell = self.shell
        why = codes.UNSUBSCRIBED_INSUFFICIENT_STATE
        if channel in shell.attached:  # the node tells its subscribers only
            shell.event(lambda: shell.session.end_subscription(channel, why, shell.now))

    @precondition(is_alive)
    @rule(how=st.sampled_from(("close", "leave", "vanish")), surely=st.integers(0, 15))
    def end(self, how: str, surely: int) -> None:
        shell, going = self.shell, codes.GOING_AWAY
        if surely:
            return  # most conversations go on
        if how == "vanish":
            shell.event(lambda: shell.session.ended(1006, "", shell.now))
        elif how == "leave":
            shell.leaving = True
            shell.event(lambda: shell.session.leave(going, shell.now))
        else:
            shell.event(lambda: shell.session.close(going, shell.now))

    def teardown(self) -> None:
        """However far a conversation has come: it is closed, and an attach in progress still has its outcome."""
        shell = self.shell
        shell.event(lambda: shell.session.close(codes.GOING_AWAY, shell.now))
        match shell.pending:
            case AttachRequest() as action:
                shell.complete(action, Attached(SubscribeResult()))
            case Connect(_, _, wanted) as action:
                shell.complete(action, AttachedAll({each.channel: Attached(SubscribeResult()) for each in wanted}))
            case _:
                pass
        for call in list(shell.calls):
            shell.complete(call, Replied(RPCResult()))
        assert not shell.attached and not shell.session.state.channels

    # --- invariants --------------------------------------------------------------------------------------------------

    @invariant()
    def everything_is_bounded(self) -> None:
        session = self.shell.session
        queue = session._queue
        assert len(session.state.channels) <= OPTIONS.channel_limit
        if queue is not None:
            assert queue.commands <= QUEUE_LIMIT and queue.queued_bytes <= QUEUED_BYTES_CEILING
            assert queue.server_commands <= SERVER_COMMANDS_LIMIT

    @invariant()
    def what_can_go_on_goes_on(self) -> None:
        shell = self.shell
        if shell.slow or shell.ended or shell.awaits_turn or shell.session.phase is Phase.REFUSED:
            return
        if shell.leaving:
            assert shell.pending is not None or shell.calls, "it waits for nothing before it leaves"
            return
        queue = shell.session._queue
        apart = 0 if queue is None else queue.calls
        if shell.pending is None:
            waiting = set(shell.asked) - {call.command_id for call in shell.calls}
            assert all(map(shell.is_rpc, waiting)), "a command waits for nothing"
            assert len(waiting) == apart
        assert not apart or len(shell.calls) == CONCURRENCY, "an RPC waits for nothing"

    @invariant()
    def a_client_that_takes_nothing_is_not_read_from(self) -> None:
        shell = self.shell
        if not shell.ended:
            assert shell.reading_paused is (shell.slow or shell.awaits_turn or self._much_waits())
        elif shell.farewell:
            assert not shell.reading_paused, "its close frame is read"

    def _much_waits(self) -> bool:
        queue = self.shell.session._queue
        return queue is not None and (queue.commands > QUEUE_LIMIT // 2 or queue.queued_bytes > QUEUED_BYTES_LIMIT)

    @invariant()
    def there_is_one_truth_about_the_client(self) -> None:
        state = self.shell.session.state
        for subscription in state.channels.values():
            if subscription.member is not None:
                assert bytes(subscription.member.conn_info) == bytes(state.identity.info)
                assert not subscription.emits_join_leave or not subscription.news

    @invariant()
    def the_facts_are_a_story(self) -> None:
        facts = self.shell.facts
        assert [isinstance(fact, Opened) for fact in facts] == [True] * bool(facts) + [False] * (len(facts) - 1)
        assert not any(isinstance(fact, Closed) for fact in facts[:-1])
        inside: set[str] = set()
        for fact in facts:
            if isinstance(fact, Subscribed):
                assert fact.channel not in inside
                inside.add(fact.channel)
            elif isinstance(fact, Unsubscribed):
                inside.remove(fact.channel)
        if facts and self.shell.ended:
            assert isinstance(facts[-1], Closed)


def outcomes(action: Action) -> st.SearchStrategy[Outcome]:
    """The possible outcomes of the action."""
    failures = (Failed(codes.INTERNAL), Failed(codes.LIMIT_EXCEEDED, "too large"))
    failed: st.SearchStrategy[Outcome] = st.sampled_from(failures)
    if isinstance(action, AskHook):
        gone = hook_results.Disconnected(CloseCode(4000, "gone"))
        failed |= st.builds(HookAnswered, st.sampled_from((hook_results.Refused(codes.INTERNAL), gone)))
    return st.one_of(successes(action), failed)


def successes(action: Action) -> st.SearchStrategy[Outcome]:
    """The outcomes of the action that are no failure."""
    match action:
        case AttachRequest():
            return st.sampled_from((Attached(SubscribeResult()), Attached(SubscribeResult(), StreamPosition(7, "e"))))
        case Connect(_, _, wanted):
            return st.just(AttachedAll({each.channel: Attached(SubscribeResult()) for each in wanted}))
        case LookUpKey():
            return st.builds(KeyLookedUp, st.booleans())
        case AskHook(event):
            return st.builds(HookAnswered, allowed_by(event))
        case Publish():
            return st.just(Replied(PublishResult()))
        case ReadHistory() | ReadPresence() | CallBackend():
            return st.just(Replied(RPCResult()))  # any result: they differ in the reply alone
        case unreachable:
            assert_never(unreachable)


def allowed_by(event: str) -> st.SearchStrategy[HookResult]:
    """The answers of this hook that allow it, and of the connect hook that it does not know the client."""
    if event == "subscribe":
        return st.just(Grant())
    if event == "publish":
        return st.just(hook_results.Accepted())
    admitted = st.builds(
        lambda subs: hook_results.Admitted("42", int(START) + 30, subs={channel: Grant() for channel in subs}),
        st.sets(st.sampled_from(AT_CONNECT)),
    )
    return st.one_of(admitted, st.just(hook_results.Unauthenticated()))


TestSessionMachine = SessionMachine.TestCase
TestSessionMachine.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
