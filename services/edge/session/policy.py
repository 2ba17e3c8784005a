"""The settings, namespaces and token verifier that all clients of an edge share. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from services.chassis.tracing.span import Tracer
from services.edge.channel_settings import ChannelSection
from services.edge.channels.namespaces import Namespaces
from services.edge.client_settings import ClientSection
from services.edge.limit_settings import NO_LIMITS
from services.edge.session.allowances import Allowances
from services.edge.tokens.tokens import TokenVerifier


class Policy:
    """The part of an edge's state and settings by which sessions decide.

    `version` and `instance` name the edge in connect replies. `connections_of` returns the number of connections that a
    user has on this edge. `allowances` limit what clients ask for; without them nothing is limited. `clock_ahead` is by
    how many seconds the wall clock is ahead of the edge's own time at this moment: it may be set, or go on alone.
    `commands` counts, by kind and code, commands that failed, and those that have no reply.
    `tracer` is None while nothing is traced.
    """

    def __init__(
        self,
        section: ClientSection,
        namespaces: Namespaces,
        verifier: TokenVerifier,
        version: str,
        instance: str = "",
        connections_of: Callable[[str], int] = lambda user: 0,
        allowances: Allowances | None = None,
        clock_ahead: Callable[[], float] = lambda: 0.0,
        tracer: Tracer | None = None,
    ) -> None:
        self.section = section
        self.namespaces = namespaces
        self.verifier = verifier
        self.version = version
        self.instance = instance
        self.connections_of = connections_of
        self.clock_ahead = clock_ahead
        self.commands: Counter[tuple[str, int]] = Counter()
        self.tracer = tracer
        self.allowances = allowances or Allowances(NO_LIMITS, section, ChannelSection())
        self.anonymous_may_connect = section.insecure or section.allow_anonymous_connect_without_token

    def count(self, kind: str, code: int) -> None:
        """Counts a command that failed with this code, or (0) was done without a reply."""
        self.commands[kind, code] += 1
