"""Causes at what edges ask: the application's backend, and the place of the keys of tokens."""

from __future__ import annotations

from tests.alerts.cause import Cause
from tests.alerts.stage import Stage


async def _backend_leaves(stage: Stage) -> None:
    await stage.surroundings.backend.leave()


async def _backend_comes(stage: Stage) -> None:
    await stage.surroundings.backend.come(stage.nats_url)


async def _break_keys(stage: Stage) -> None:
    assert stage.surroundings.keys is not None
    stage.surroundings.keys.broken = True


async def _mend_keys(stage: Stage) -> None:
    assert stage.surroundings.keys is not None
    stage.surroundings.keys.broken = False


BACKEND = Cause("the backend for RPCs is gone", ("BackendFails",), _backend_leaves, _backend_comes)

KEYS = Cause("the JWKS endpoint answers 500", ("KeysUnavailable",), _break_keys, _mend_keys)
