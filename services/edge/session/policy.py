"""What sessions decide by: settings, what is made from them, and what decisions need to know of the edge. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from services.chassis.tracing.span import Tracer
from services.edge.arrival import NOTHING_KEPT, Kept, UserHeader
from services.edge.backend.hook_questions import PLAIN, QuestionForm
from services.edge.channel_settings import ChannelSection
from services.edge.channels.namespaces import Namespaces
from services.edge.client_settings import ClientSection
from services.edge.limit_settings import NO_LIMITS
from services.edge.origins import Origins
from services.edge.session.allowances import Allowances
from services.edge.tokens.tokens import TokenVerifier


def _nothing_limited() -> Allowances:
    return Allowances(NO_LIMITS, ClientSection(), ChannelSection())


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy for all clients of an edge at one moment. A reload replaces it as a whole: see `CurrentPolicy`.

    `version` and `instance` name the edge in connect replies. `connections_of` returns the number of connections that a
    user has on this edge. `allowances` limit what clients ask for; without them nothing is limited. `clock_ahead`
    returns by how many seconds the wall clock is ahead of the edge's own time at this moment, which changes when the
    wall clock is set, or the machine is suspended.
    `tracer` is None while nothing is traced. `origins` are the pages that may connect.
    `kept` is what is kept of a client's request, `emulated_headers` are those of its connect command that backends get,
    in lower case. `forms` has the form of questions to each backend that has a table, by its name. In
    `user_header` a proxy says who the client is; None if no proxy does.
    `commands` counts, by kind and code, commands that failed, and those that have no reply; a new policy goes on with
    the same counter.
    """

    section: ClientSection
    namespaces: Namespaces
    verifier: TokenVerifier
    version: str
    instance: str = ""
    connections_of: Callable[[str], int] = lambda user: 0
    allowances: Allowances = field(default_factory=_nothing_limited)
    clock_ahead: Callable[[], float] = lambda: 0.0
    tracer: Tracer | None = None
    origins: Origins = field(default_factory=lambda: Origins([]))
    kept: Kept = NOTHING_KEPT
    emulated_headers: frozenset[str] = frozenset()
    forms: Mapping[str, QuestionForm] = field(default_factory=dict)
    user_header: UserHeader | None = None
    commands: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def anonymous_may_connect(self) -> bool:
        """Whether clients may connect without a token."""
        return self.section.insecure or self.section.allow_anonymous_connect_without_token

    def form(self, backend: str) -> QuestionForm:
        """The form of questions to the backend of this name."""
        return self.forms.get(backend, PLAIN)

    def count(self, kind: str, code: int) -> None:
        """Counts a command that failed with this code, or (0) was done without a reply."""
        self.commands[kind, code] += 1


class CurrentPolicy:
    """Holds the policy of an edge, which all its clients share.

    Each decision reads it anew, so a new policy holds from the next command of every client on.
    """

    __slots__ = ("policy",)

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def replace(self, policy: Policy) -> None:
        """Makes this the policy from now on."""
        self.policy = policy
