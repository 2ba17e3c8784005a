"""A Centrifugo with proxies, and the edge that its configuration becomes, in front of the same backend.

The backend is a double that is made from Centrifugo's documentation: each proxy has a path of its own there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tests.support.edges import FAST_GOODBYE, wire_client
from tests.support.http_backend import Asked, HttpDouble, answer, http_double
from tests.support.processes import ServiceProcess, Services
from tests.support.source_tree import ROOT

ORIGIN = "https://app.example.com"
COOKIE: dict[str, Any] = {"additional_headers": {"Cookie": "sessionid=56"}, "origin": ORIGIN}


def configuration(url: str) -> dict[str, Any]:
    """As it is met: cookies, a proxy for each event, one with a name for some channels and RPCs, Redis, and more."""
    return {
        "http_server": {"port": 8000, "internal_port": "9000"},
        "log": {"level": "info"},
        "engine": {"type": "redis", "redis": {"address": "redis://redis:6379"}},
        "admin": {"enabled": True, "password": "secret of the admin", "secret": "secret of its tokens"},
        "http_api": {"key": "the-key-of-our-backends"},
        "client": {
            "allowed_origins": [ORIGIN],
            "proxy": {
                "connect": {
                    "enabled": True,
                    "endpoint": f"{url}/centrifugo/connect",
                    "timeout": "3s",
                    "http_headers": ["Cookie", "Origin", "Content-Type"],
                    "http": {"static_headers": {"X-From": "centrifugo"}},
                },
            },
        },
        "channel": {
            "proxy": {
                "subscribe": {"endpoint": f"{url}/centrifugo/subscribe", "http_headers": ["Cookie"]},
                "publish": {"endpoint": f"{url}/centrifugo/publish", "http_headers": ["Cookie"]},
            },
            "namespaces": [
                {
                    "name": "chat",
                    "presence": True,
                    "history_size": 10,
                    "history_ttl": "60s",
                    "force_recovery": True,
                    "subscribe_proxy_enabled": True,
                    "publish_proxy_enabled": True,
                },
                {"name": "rooms", "subscribe_proxy_enabled": True, "subscribe_proxy_name": "granular"},
            ],
        },
        "rpc": {
            "proxy": {"endpoint": f"{url}/centrifugo/rpc", "http_headers": ["Cookie"]},
            "without_namespace": {"proxy_enabled": True},
            "namespaces": [{"name": "orders", "proxy_enabled": True, "proxy_name": "granular"}],
        },
        "proxies": [
            {
                "name": "granular",
                "endpoint": f"{url}/granular",
                "http_headers": ["Cookie"],
                "http": {
                    "status_to_code_transforms": [
                        {"status_code": 403, "to_error": {"code": 403, "message": "permission denied"}}
                    ]
                },
            }
        ],
    }


def backend(asked: Asked) -> bytes:
    if asked.headers.get("cookie") != "sessionid=56":
        return answer({"disconnect": {"code": 4501, "reason": "unauthorized"}})
    match asked.path, asked.question.get("channel", asked.question.get("method")):
        case "/centrifugo/connect", _:
            return answer({"result": {"user": "56"}})
        case "/centrifugo/rpc", "getCurrentPrice":
            return answer({"result": {"data": {"price": 2019}}})
        case "/granular", "orders:list":
            return answer({"result": {"data": [7]}})
        case "/granular", "rooms:closed":
            return answer(b"no", "403 Forbidden")
        case ("/centrifugo/subscribe" | "/centrifugo/publish", "chat:index") | ("/granular", "rooms:open"):
            return answer({"result": {}})
    return answer(b"", "404 Not Found")


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m services.edge` with these arguments, as an operator runs it in this folder."""
    return subprocess.run(
        [sys.executable, "-m", "services.edge", *arguments],
        cwd=folder,
        env={"PATH": "", "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def moved(folder: Path, config: dict[str, Any], name: str) -> str:
    """The configuration that the command makes of a file of this name, and that `check` accepts."""
    text = yaml.safe_dump(config) if name.endswith("yaml") else msgspec.json.encode(config).decode()
    (folder / name).write_text(text)
    made = run(folder, "import-centrifugo", name)
    assert (made.returncode, made.stderr) == (0, "")
    assert "written to fairlead.toml, which is valid" in made.stdout and "secret of" not in made.stdout
    checked = run(folder, "check")
    assert (checked.returncode, checked.stderr) == (0, ""), checked
    return (folder / "fairlead.toml").read_text()


async def edge_of(services: Services, toml: str) -> ServiceProcess:
    variables = {"FAIRLEAD_EDGE_BROKER": "memory", "FAIRLEAD_EDGE_HOST": "127.0.0.1", "FAIRLEAD_EDGE_CLIENT_PORT": "0"}
    return await services.start("edge", variables | FAST_GOODBYE, toml).ready()


async def test_clients_and_backend_notice_nothing(tmp_path: Path, services: Services) -> None:
    async with http_double(backend) as double:
        edge = await edge_of(services, moved(tmp_path, configuration(double.url), "config.yaml"))
        async with wire_client(edge, **COOKIE) as client:
            assert "client" in (await client.ask(connect={}))["connect"]
            await client.subscribe("chat:index")
            reply = await client.ask_in_any_order(publish={"channel": "chat:index", "data": {"input": "hello"}})
            assert "error" not in reply
            assert (await client.push("chat:index"))["pub"]["data"] == {"input": "hello"}
            assert (await client.ask(rpc={"method": "getCurrentPrice"}))["rpc"] == {"data": {"price": 2019}}
            assert (await client.ask(rpc={"method": "orders:list"}))["rpc"] == {"data": [7]}
            assert "error" not in await client.ask(subscribe={"channel": "rooms:open"})
            refused = await client.ask(subscribe={"channel": "rooms:closed"})
            assert refused["error"] == {"code": 403, "message": "permission denied"}
    assert paths(double) == [
        "/centrifugo/connect",
        "/centrifugo/subscribe",
        "/centrifugo/publish",
        "/centrifugo/rpc",
        "/granular",
        "/granular",
        "/granular",
    ]
    first = double.asked[0].headers
    assert (first["origin"], first["x-from"], first["content-type"]) == (ORIGIN, "centrifugo", "application/json")


async def test_who_has_no_session_is_sent_away(tmp_path: Path, services: Services) -> None:
    async with http_double(backend) as double:
        edge = await edge_of(services, moved(tmp_path, configuration(double.url), "config.json"))
        async with wire_client(edge, additional_headers={"Cookie": "sessionid=forged"}, origin=ORIGIN) as client:
            await client.send({"id": 1, "connect": {}})
            assert await client.closed() == (4501, "unauthorized")


def paths(double: HttpDouble) -> list[str]:
    return [asked.path for asked in double.asked]
