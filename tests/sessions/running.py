"""The sessions service as a running process, and questions to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

API_KEY = "the-key-of-the-tests"


def variables(nats_server: NatsServer, postgres: Postgres, **more: str) -> dict[str, str]:
    """The service's settings."""
    own = {"NATS_URL": nats_server.url, "POSTGRES_URL": postgres.url, "HTTP_API_KEY": API_KEY} | more
    return {f"FAIRLEAD_{name}": value for name, value in own.items()}


def start(
    services: Services, nats_server: NatsServer, postgres: Postgres, *, toml: str = "", **more: str
) -> ServiceProcess:
    """Starts it, without waiting. `toml` is the text of its configuration file."""
    return services.start("sessions", variables(nats_server, postgres, **more), toml)


async def ask(service: ServiceProcess, path: str, **query: str | int) -> dict[str, Any]:
    """The answer to a question that has one."""
    answer = await request(service, path, None, **query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def request(
    service: ServiceProcess, path: str, headers: Mapping[str, str | bytes] | None = None, **query: str | int
) -> httpx.Response:
    """Any answer."""
    sent = {"X-API-Key": API_KEY} if headers is None else headers
    encoded = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in sent.items()]
    async with http_client(base_url=service.url, headers=encoded) as http:
        return await http.get(path, params=query, timeout=10)


async def sessions_of(service: ServiceProcess, **query: str | int) -> list[dict[str, Any]]:
    """One page of sessions."""
    found: list[dict[str, Any]] = (await ask(service, "/sessions", **query))["sessions"]
    return found


async def metric(service: ServiceProcess, name: str) -> float:
    """The value of a series without labels."""
    async with http_client() as http:
        text = (await http.get(f"{service.url}/metrics", timeout=10)).text
    (line,) = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(line.rpartition(" ")[2])


async def metric_of(service: ServiceProcess, name: str, **labels: str) -> float:
    """The value of a series with labels, 0 if nothing was counted yet."""
    async with http_client() as http:
        text = (await http.get(f"{service.url}/metrics", timeout=10)).text
    shown = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    found = [line for line in text.splitlines() if line.startswith(f"{name}{{{shown}}} ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0
