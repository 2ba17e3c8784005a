"""What all clients of an edge have in common: the settings, the namespaces, the token verifier. Pure."""

from __future__ import annotations

from collections.abc import Callable

from services.edge.channels.namespaces import Namespaces
from services.edge.settings import ClientSection
from services.edge.tokens.tokens import TokenVerifier


class Policy:
    """See the module. `connections_of` says how many connections a user has on this edge."""

    def __init__(
        self,
        section: ClientSection,
        namespaces: Namespaces,
        verifier: TokenVerifier,
        version: str,
        connections_of: Callable[[str], int] = lambda user: 0,
    ) -> None:
        self.section = section
        self.namespaces = namespaces
        self.verifier = verifier
        self.version = version
        self.connections_of = connections_of
        self.anonymous_may_connect = section.insecure or section.allow_anonymous_connect_without_token
