"""Makes the cause of each alert on a real stack: `python -m tests.alerts.run [ALERT...]`. Prints how long each took to
fire and, after the end of its cause, to fall silent.

It needs Prometheus and Alertmanager on PATH, and an hour for all of them: many alerts look at the last ten minutes.
Exits 1 if one does not fire, or does not fall silent.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.alerts.causes import CAUSES, Cause
from tests.alerts.stage import Stage, babble
from tests.stack.checkout import Checkout
from tests.stack.prometheus import Prometheus

WITHIN_S = 900.0


async def wait_for(stage: Stage, alert: str, fires: bool) -> float | None:
    """Seconds until the alert fires, or is silent; None if that does not come."""
    began = time.monotonic()
    while time.monotonic() - began < WITHIN_S:
        if (alert in await asyncio.to_thread(stage.firing)) == fires:
            return time.monotonic() - began
        await asyncio.sleep(0.5)
    return None


async def play(stage: Stage, cause: Cause) -> bool:
    """Makes one cause and ends it, and prints a row for each of its alerts. False if one did not do as it should."""
    for alert in cause.alerts:
        await wait_for(stage, alert, False)
    wanted = (*cause.alerts, *cause.lasting)
    fired: dict[str, float | None] = dict.fromkeys(wanted)
    making = asyncio.create_task(cause.make(stage))
    await asyncio.gather(making, *(_note(stage, alert, True, fired) for alert in wanted))
    await cause.undo(stage)
    silent: dict[str, float | None] = dict.fromkeys(cause.alerts)
    await asyncio.gather(*(_note(stage, alert, False, silent) for alert in cause.alerts))
    for alert in wanted:
        end = _shown(silent[alert]) if alert in silent else "not awaited"
        _say(f"| {alert} | {cause.what} | {_shown(fired[alert])} | {end} |")
    return None not in (*fired.values(), *silent.values())


async def _note(stage: Stage, alert: str, fires: bool, times: dict[str, float | None]) -> None:
    times[alert] = await wait_for(stage, alert, fires)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _shown(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.0f} s"


async def run(causes: list[Cause], folder: Path) -> bool:
    """True if all alerts fired and fell silent."""
    checkout = Checkout(folder / "alerts", edges=2)
    done = checkout.make("up", OBSERVE="1")
    if done.returncode:
        _say(done.stdout + done.stderr)
        return False
    try:
        stage = Stage(checkout, Prometheus(checkout.ports["PROMETHEUS_PORT"], checkout.ports["ALERTMANAGER_PORT"]))
        load = asyncio.create_task(babble(stage))
        _say("| alert | cause | fires after | silent after |\n|---|---|---|---|")
        good = [await play(stage, cause) for cause in causes]
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        return all(good)
    finally:
        checkout.make("down")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.alerts.run", description=__doc__)
    parser.add_argument("alerts", nargs="*", metavar="ALERT", help="only the causes of these")
    wanted = set(parser.parse_args().alerts)
    causes = [cause for cause in CAUSES if not wanted or wanted & set(cause.alerts)]
    with tempfile.TemporaryDirectory(prefix="fairlead-alerts-") as folder:
        return 0 if asyncio.run(run(causes, Path(folder))) else 1


if __name__ == "__main__":
    sys.exit(main())
