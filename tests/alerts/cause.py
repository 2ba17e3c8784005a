"""A cause of alerts: how it is made on a stage, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from tests.alerts.stage import Stage

Step = Callable[[Stage], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Cause:
    """`what` is made by `make` and ended by `undo`; these alerts are to fire in between, and to be silent after: their
    names, of those about a service level with it ("ErrorBudgetBurns (publish)").

    Those of `lasting` fire as well; they look so far back that nobody waits for their end. Those of `besides` may fire,
    and are not measured. `make` goes on until it is cancelled, which is when all have fired, or returns before.
    """

    what: str
    alerts: tuple[str, ...]
    make: Step
    undo: Step
    lasting: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()

    @property
    def measured(self) -> tuple[str, ...]:
        """The alerts that it is to make fire."""
        return (*self.alerts, *self.lasting)

    @property
    def names(self) -> set[str]:
        """Their names in the rules, without a service level."""
        return {alert.partition(" ")[0] for alert in self.measured}


async def nothing(stage: Stage) -> None:
    """The cause ends by itself."""


def frozen(name: str, what: str, *alerts: str, lasting: tuple[str, ...] = (), besides: tuple[str, ...] = ()) -> Cause:
    """The process hangs."""

    async def make(stage: Stage) -> None:
        stage.freeze(name)

    async def undo(stage: Stage) -> None:
        stage.thaw(name)

    return Cause(what, alerts, make, undo, lasting, besides)


def killed(name: str, times: int, what: str, *alerts: str, besides: tuple[str, ...] = ()) -> Cause:
    """The process is killed so many times, and started again by its supervisor."""

    async def make(stage: Stage) -> None:
        await stage.kill(name, times)

    return Cause(what, alerts, make, nothing, besides=besides)
