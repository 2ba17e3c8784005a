"""The stacks on which causes are made, and which causes are made on which."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.alerts.cause import Cause, Step, nothing
from tests.alerts.causes import backends, capacity, edges, nats, processes, sessions, store, webhooks
from tests.alerts.surroundings import KeyEndpoint, NatsPeers, SmallDisk, Surroundings, WebhookReceiver
from tests.stack.checkout import Checkout

_LOCAL = "deploy/local/fairlead.toml"

Build = Callable[[Checkout, Surroundings], Coroutine[Any, Any, dict[str, str]]]


async def as_it_is(checkout: Checkout, surroundings: Surroundings) -> dict[str, str]:
    """Nothing else than `make up`."""
    return {}


@dataclass(frozen=True)
class Scene:
    """A stack: `make up OBSERVE=1` with these settings, in a checkout in whose copy of a file each of `changes` (name,
    old text, new text) is made, and which `build` prepares; it returns further settings. `ready` is done once it runs.
    The causes are made one after the other, or `together`."""

    name: str
    causes: tuple[Cause, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[tuple[str, str, str], ...] = ()
    build: Build = as_it_is
    ready: Step = nothing
    together: bool = False


async def _with_certificate(checkout: Checkout, surroundings: Surroundings) -> dict[str, str]:
    checkout.append("deploy/traefik/routes/fairlead.yaml", processes.certify(checkout.root / "certificates", 90))
    return {}


async def _with_a_small_disk(checkout: Checkout, surroundings: Surroundings) -> dict[str, str]:
    surroundings.disk = SmallDisk(checkout.folders.nats)
    surroundings.disk.mount()
    checkout.append(_LOCAL, store.STRICT)
    checkout.append("deploy/local/templates/nats.conf", store.ACCOUNT)
    return {}


async def _with_peers(checkout: Checkout, surroundings: Surroundings) -> dict[str, str]:
    surroundings.peers = NatsPeers(checkout.root / "peers")
    checkout.append("deploy/local/templates/nats.conf", surroundings.peers.cluster(1))
    for number in (2, 3):
        surroundings.peers.start(number)
    return {}


async def _with_keys(checkout: Checkout, surroundings: Surroundings) -> dict[str, str]:
    surroundings.keys = KeyEndpoint()
    await surroundings.keys.start()
    return {"FAIRLEAD_CLIENT_TOKEN_JWKS_PUBLIC_ENDPOINT": f"http://127.0.0.1:{surroundings.keys.port}/jwks"}


async def _with_a_webhook(checkout: Checkout, surroundings: Surroundings) -> dict[str, str]:
    surroundings.receiver = WebhookReceiver()
    await surroundings.receiver.start()
    checkout.append(_LOCAL, webhooks.webhook(surroundings.receiver.port))
    return {}


SCENES = (
    Scene(
        "plain",
        (*processes.PROCESSES, *sessions.SESSIONS, backends.BACKEND, *nats.NATS, *edges.EDGES),
        {"FAIRLEAD_EDGE_DRAIN_RATE": "5"},
        changes=(("deploy/local/templates/traefik.yaml", "watch: $watch_routes", "watch: true"),),
        build=_with_certificate,
    ),
    Scene(
        "disk",
        store.STORE,
        {"FAIRLEAD_SESSIONS_LOG_MAX_BYTES": str(64 * 1024 * 1024)},
        changes=((_LOCAL, "history_max_bytes = 1_073_741_824", "history_max_bytes = 48_000_000"),),
        build=_with_a_small_disk,
    ),
    Scene("cluster", nats.CLUSTER, build=_with_peers, ready=nats.copy_streams),
    Scene(
        "memory",
        processes.MEMORY,
        {
            "FAIRLEAD_EDGE_MEMORY_SOFT_LIMIT": str(processes.SOFT_LIMIT_BYTES),
            "FAIRLEAD_EDGE_MEMORY_HARD_LIMIT": str(processes.HARD_LIMIT_BYTES),
        },
    ),
    Scene(
        "room",
        (*sessions.LOST_EVENTS, *capacity.LOST_MINUTES),
        changes=(sessions.ROOM_FOR_EVENTS, capacity.ROOM_FOR_MINUTES),
    ),
    Scene(
        "capacity",
        (*capacity.CAPACITY, edges.UNEVEN),
        {
            "FAIRLEAD_CAPACITY_BANDWIDTH": str(capacity.BANDWIDTH),
            "FAIRLEAD_CAPACITY_LOOP_LAG": "0",
            "FAIRLEAD_CAPACITY_MAX_EDGES": "6",
            "FAIRLEAD_FORECAST_INTERVAL": "5m",
        },
        together=True,
    ),
    Scene(
        "forecast",
        (capacity.FAILING_FORECASTS, backends.KEYS),
        {"FAIRLEAD_FORECAST_INTERVAL": "5m"},
        build=_with_keys,
        ready=capacity.remember_weeks,
        together=True,
    ),
    Scene("webhooks", webhooks.WEBHOOKS, build=_with_a_webhook),
    Scene("load", (edges.SATURATED,)),
)

CAUSES = tuple(cause for scene in SCENES for cause in scene.causes)
