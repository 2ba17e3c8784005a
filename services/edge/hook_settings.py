"""What the settings of hooks have in common, of hooks about clients and of hooks about channels."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from proto.codes import check_close_reason
from services.chassis.process.settings import Section

NATS: Final = "nats"
"""The name of the backend that has no table: whoever subscribes to `hook.>` and `rpc.>` on the edge's own NATS."""

WHEN_AWAY: Final = ("refuse", "allow")
COMMAND_DEADLINE_S: Final = 4.5
"""A command that is not answered by then gets error 100, just before SDKs give up on it (5 s)."""


class ToDisconnect(Section, frozen=True):
    """The close with which a client's connection ends, for an HTTP status or an error."""

    code: Annotated[int, Meta(ge=3001, le=4999)]
    """From 4000 on for codes of your own. SDKs do not reconnect after 3500 to 3999 and 4500 to 4999."""
    reason: str
    """The reason that the client gets."""

    def __post_init__(self) -> None:
        try:
            check_close_reason(self.reason)
        except ValueError as error:
            raise ValueError(f"expected a usable reason: {error}") from None


def check_hook(where: str, timeout: float, when_away: str) -> None:
    """Raises ValueError if a `hook_timeout` or `hook_when_away` is not valid. `where` is what precedes their names."""
    if not 0 < timeout < COMMAND_DEADLINE_S:
        raise ValueError(f"expected {where}hook_timeout below {COMMAND_DEADLINE_S} s, when SDKs give up")
    if when_away not in WHEN_AWAY:
        raise ValueError(f'expected {where}hook_when_away "refuse" or "allow"')
