"""Makes the two outages that once left no mark, and prints which series of edges moved, and after how many seconds
Prometheus had that: `python -m tests.alerts.outages`. The full disk needs root.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.alerts.cause import Cause
from tests.alerts.causes.edges import STANDS_STILL
from tests.alerts.causes.store import FULL_DISK
from tests.alerts.run import LOOK_EVERY_S, Watch, on_stage, say
from tests.alerts.scenes import SCENES
from tests.alerts.stage import Stage

SLOW_S = 1
"""Of histograms of times, the observations above this are looked at."""

_FAILURES = (
    'sum by (__name__, cause, code) ({__name__=~"fairlead_edge_.+_total", cause!=""} or {__name__=~'
    '"fairlead_edge_.+_total", code!~"0|1000|"})'
)
_WAITING = (
    'max by (__name__) ({__name__=~"fairlead_edge_(publishes_waiting|session_events_waiting|streams_unanswered'
    '|session_events_oldest_seconds)|fairlead_process_loop_lag_max_seconds", job="fairlead-edge"})'
)


def _total(kind: str, labels: str = "") -> str:
    """The sum of one kind of series of histograms of times, by the name of the histogram."""
    series = f'{{__name__=~"fairlead_.+_seconds_{kind}", job="fairlead-edge"{labels}}}'
    return f'sum by (name) (label_replace({series}, "name", "$1", "__name__", "(.+)_{kind}"))'


_SLOW = _total("count") + " - " + _total("bucket", f', le="{SLOW_S}.0"')
_BEFORE_S, _FREEZE_S, _DISK_S = 30.0, 25.0, 90.0


@dataclass
class Track:
    """What each series was at most before the cause, when it passed that, and how far it came."""

    before: dict[str, float] = field(default_factory=dict)
    passed_s: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)

    def steady(self, values: Mapping[str, float]) -> None:
        """Takes values of the time before the cause."""
        for name, value in values.items():
            self.before[name] = max(value, self.before.get(name, value))

    def see(self, values: Mapping[str, float], after_s: float) -> None:
        """Takes values of so many seconds after it."""
        for name, value in values.items():
            if value > self.before.get(name, 0.0):
                self.passed_s.setdefault(name, after_s)
                self.most[name] = max(value, self.most.get(name, value))


def read(stage: Stage) -> dict[str, float]:
    """The series of all edges that tell of trouble: failures by cause, what waits, slow observations."""
    found: dict[str, float] = {}
    for query in (_FAILURES, _WAITING, _SLOW):
        for one in stage.prometheus.query(query):
            labels = dict(one["metric"])
            name = labels.pop("__name__", "")
            if slow := labels.pop("name", ""):
                name = f"{slow} above {SLOW_S} s"
            shown = ",".join(f'{label}="{value}"' for label, value in labels.items() if value)
            found[f"{name}{{{shown}}}" if shown else name] = float(one["value"][1])
    return found


async def observe(stage: Stage, watch: Watch, cause: Cause, seconds: float) -> None:
    """Makes the cause, and prints what moved in the time after it, and which alerts fired."""
    track, alerts, ready = Track(), dict[str, float](), set[str]()
    began = time.monotonic()
    while time.monotonic() - began < _BEFORE_S:
        track.steady(await asyncio.to_thread(read, stage))
        await asyncio.sleep(LOOK_EVERY_S)
    fired_before = watch.firing
    began = time.monotonic()
    making = asyncio.create_task(cause.make(stage))
    async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
        while (after := time.monotonic() - began) < seconds:
            track.see(await asyncio.to_thread(read, stage), after)
            for edge in (1, 2):
                with contextlib.suppress(httpx.HTTPError):
                    ready.add((await http.get(f"http://127.0.0.1:{stage.edge_port(edge)}/readyz")).text.strip())
            for alert in watch.firing - fired_before:
                alerts.setdefault(alert, after)
            await asyncio.sleep(LOOK_EVERY_S)
    await making
    say(f"\n{cause.what}\n\n| series of edges | before | at most after | moved within |\n|---|---|---|---|")
    for name, at in sorted(track.passed_s.items(), key=lambda one: one[1]):
        say(f"| `{name}` | {track.before.get(name, 0):g} | {track.most[name]:g} | {at:.0f} s |")
    say("\nalerts: " + ", ".join(f"{name} {at:.0f} s" for name, at in alerts.items()))
    say("/readyz said: " + ", ".join(sorted(ready)))


async def main() -> None:
    scene = next(one for one in SCENES if one.name == "disk")
    with tempfile.TemporaryDirectory(prefix="fairlead-outages-") as folder:
        async with on_stage(scene, Path(folder)) as (stage, watch):
            await observe(stage, watch, STANDS_STILL, _FREEZE_S)
            await observe(stage, watch, FULL_DISK, _DISK_S)
            await FULL_DISK.undo(stage)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
