"""What all connections of an edge share."""

from __future__ import annotations

from dataclasses import dataclass

from services.chassis.process.turns import Turns
from services.edge.backend.backends import Backends
from services.edge.channels.node import Node
from services.edge.connection.admission import Admission
from services.edge.connection.clock import Clock
from services.edge.connection.connection_log import ConnectionLog
from services.edge.connection.door import Door
from services.edge.connection.executor import Executor
from services.edge.connection.refusal_facts import RefusalFacts
from services.edge.connection.refusal_log import RefusalLog
from services.edge.connection.registry import ConnectionRegistry
from services.edge.connection.single_connection import SingleConnection
from services.edge.session.policy import CurrentPolicy, Policy
from services.edge.session_log import SessionLog
from services.edge.tally import Tally
from services.edge.timing_wheel import TimingWheel
from services.edge.turn_queue import TurnQueue


@dataclass(frozen=True, slots=True)
class EdgeContext:
    """The parts of an edge that a connection uses. Made once, in `app`.

    `turns` gives turns of the event loop to clients with more input than one turn allows, `openings` to new clients.
    `connection_log` is None unless the operator asks for it.
    """

    current: CurrentPolicy
    node: Node
    executor: Executor
    backends: Backends
    registry: ConnectionRegistry
    admission: Admission
    door: Door
    refusals: RefusalLog
    refusal_facts: RefusalFacts
    single_connection: SingleConnection
    connection_log: ConnectionLog | None
    session_log: SessionLog
    timing_wheel: TimingWheel
    turns: Turns
    openings: TurnQueue
    clock: Clock
    tally: Tally

    @property
    def policy(self) -> Policy:
        """The policy by which decisions about clients are made now."""
        return self.current.policy
