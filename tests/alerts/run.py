"""Makes the cause of each alert on a real stack: `python -m tests.alerts.run [ALERT or SCENE...]`. Prints how long each
took to fire and, after its cause was ended, to fall silent.

It needs Prometheus and Alertmanager on PATH, root for the scene "disk", and two hours for all of them: many alerts look
at the last ten minutes. Exits 1 if one does not fire, or does not fall silent.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from deploy.local.settings import LocalStackError
from tests.alerts.cause import Cause
from tests.alerts.load import babble
from tests.alerts.scenes import SCENES, Scene
from tests.alerts.stage import Stage
from tests.alerts.surroundings import Surroundings
from tests.stack.checkout import Checkout
from tests.stack.prometheus import Prometheus

WITHIN_S = 1500.0
QUIET_WITHIN_S = 700.0
"""An earlier cause may have made the same alert fire: for its end."""
LOOK_EVERY_S = 0.5


class Watch:
    """Knows which alerts fire, as long as `run` runs."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._firing: set[str] = set()
        self._awaited: Counter[str] = Counter()
        self._looked = asyncio.Event()

    @property
    def firing(self) -> set[str]:
        """Those that fired when it looked last."""
        return self._firing

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            try:
                self._firing = await asyncio.to_thread(self._stage.firing)
                self._looked.set()
            except httpx.HTTPError as error:  # a busy machine
                say(f"Prometheus did not answer: {error!r}")
            await asyncio.sleep(LOOK_EVERY_S)

    async def wait_for(self, alert: str, fires: bool, within_s: float = WITHIN_S) -> float | None:
        """Seconds until the alert fires, or is silent; None if that does not come."""
        began = time.monotonic()
        await self._looked.wait()
        while time.monotonic() - began < within_s:
            if (alert in self._firing) == fires:
                return time.monotonic() - began
            await asyncio.sleep(LOOK_EVERY_S)
        return None

    async def silence_of(self, alerts: tuple[str, ...]) -> dict[str, float | None]:
        """The same as `all_of(alerts, False)`. No cause that may make one of them fire begins meanwhile."""
        self._awaited.update(alerts)
        try:
            return await self.all_of(alerts, False)
        finally:
            self._awaited.subtract(alerts)

    async def let_end(self, alerts: tuple[str, ...]) -> None:
        """Returns when nobody waits for the silence of any of them."""
        while any(self._awaited[alert] for alert in alerts):
            await asyncio.sleep(LOOK_EVERY_S)

    async def all_of(self, alerts: tuple[str, ...], fire: bool, within_s: float = WITHIN_S) -> dict[str, float | None]:
        """The same for several, by name."""
        found = await asyncio.gather(*(self.wait_for(one, fire, within_s) for one in alerts))
        return dict(zip(alerts, found, strict=True))


async def play(stage: Stage, watch: Watch, cause: Cause) -> asyncio.Task[bool]:
    """Makes one cause, and ends it when all of its alerts have fired. Returns the task that waits for their silence and
    prints a row for each; its result is False if one did not do as it should, or fires without the cause."""
    await watch.let_end(cause.besides)
    if None in (await watch.all_of(cause.measured, False, QUIET_WITHIN_S)).values():
        say(f"# {cause.what}: fires without it: {', '.join(watch.firing & {*cause.measured})}")
        return asyncio.create_task(_failed())
    making = asyncio.create_task(cause.make(stage))
    firing = asyncio.create_task(watch.all_of(cause.measured, True))
    await asyncio.wait({making, firing}, return_when=asyncio.FIRST_COMPLETED)
    if not firing.done() and (trouble := making.exception()) is not None:
        firing.cancel()
        say(f"# {cause.what}: cannot be made: {trouble!r}")
        return asyncio.create_task(_failed())
    fired = await firing
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    say(f"# {cause.what}: {', '.join(f'{alert} {_shown(seconds)}' for alert, seconds in fired.items())}")
    ending = asyncio.create_task(_end(stage, watch, cause, fired))
    await asyncio.sleep(0)  # it has begun
    return ending


async def _failed() -> bool:
    return False


async def _end(stage: Stage, watch: Watch, cause: Cause, fired: dict[str, float | None]) -> bool:
    undoing = asyncio.create_task(cause.undo(stage))
    silent = await watch.silence_of(cause.alerts)
    await undoing
    for alert in cause.measured:
        end = _shown(silent[alert]) if alert in silent else "not awaited"
        say(f"| {alert} | {cause.what} | {_shown(fired[alert])} | {end} |")
    return None not in (*fired.values(), *silent.values())


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _shown(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.0f} s"


@asynccontextmanager
async def on_stage(scene: Scene, folder: Path) -> AsyncIterator[tuple[Stage, Watch]]:
    """The running stack of a scene, with some load. Raises `LocalStackError` if it does not start."""
    checkout, surroundings = Checkout(folder / scene.name, edges=2), Surroundings()
    tasks: list[asyncio.Task[None]] = []
    try:
        for change in scene.changes:
            checkout.replace(*change)
        settings = {**scene.settings, **await scene.build(checkout, surroundings)}
        done = await asyncio.to_thread(checkout.make, "up", OBSERVE="1", **settings)
        if done.returncode:
            raise LocalStackError(done.stdout + done.stderr)
        prometheus = Prometheus(checkout.ports["PROMETHEUS_PORT"], checkout.ports["ALERTMANAGER_PORT"])
        stage = Stage(checkout, prometheus, surroundings)
        watch = Watch(stage)
        await surroundings.backend.come(stage.nats_url)
        tasks += [asyncio.create_task(babble(stage)), asyncio.create_task(watch.run())]
        await scene.ready(stage)
        await asyncio.sleep(60)  # counters are there, and what the start has made fire is over
        try:
            yield stage, watch
        finally:
            stage.thaw_all()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await surroundings.backend.leave()
        await asyncio.to_thread(checkout.make, "down")
        surroundings.close()


async def run(scene: Scene, causes: list[Cause], folder: Path) -> bool:
    """True if all alerts fired and fell silent."""
    async with on_stage(scene, folder) as (stage, watch):
        say(f"scene {scene.name}\n\n| alert | cause | fires after | resolved after |\n|---|---|---|---|")
        if scene.together:
            endings = await asyncio.gather(*(play(stage, watch, cause) for cause in causes))
        else:
            endings = [await play(stage, watch, cause) for cause in causes]
        return all(await asyncio.gather(*endings))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.alerts.run", description=__doc__)
    parser.add_argument("wanted", nargs="*", metavar="ALERT or SCENE", help="only these")
    wanted = set(parser.parse_args().wanted)
    good = True
    for scene in SCENES:
        causes = [one for one in scene.causes if not wanted or wanted & {scene.name, *one.names}]
        if causes:
            with tempfile.TemporaryDirectory(prefix="fairlead-alerts-") as folder:
                good = asyncio.run(run(scene, causes, Path(folder))) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
