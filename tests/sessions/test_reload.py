"""SIGHUP: the sessions service takes over API keys, and refuses whatever needs a restart."""

from __future__ import annotations

import pytest

from tests.sessions.running import API_KEY, metric, request, start

pytestmark = pytest.mark.integration


async def test_api_keys_are_taken_over_and_anything_else_needs_a_restart(services, nats_server, postgres):
    service = await start(services, nats_server, postgres).ready()
    support = {"X-API-Key": "the key of the support"}

    async def status(headers: dict[str, str]) -> int:
        return (await request(service, "/sessions", headers)).status_code

    assert await status(support) == 401
    key = '[[http_api.keys]]\nname = "support"\nkey = "the key of the support"\n'
    assert await service.reload(key + 'scope = "read"\n') == "reloaded: http_api.keys"
    assert await status(support) == 200
    await service.reload(key + 'scope = "publish"\n')
    assert await status(support) == 403
    said = await service.reload('[sessions]\nresume_window = "5m"\n')
    assert "refused" in said and "only a restart changes sessions.resume_window" in said
    assert await status(support) == 403 and await status({"X-API-Key": API_KEY}) == 200
    assert await metric(service, "fairlead_process_config_last_reload_successful") == 0
    assert await service.stop() == 0
