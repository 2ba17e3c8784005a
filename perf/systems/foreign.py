"""A server that already runs on this machine and speaks the Centrifuge protocol, as one more system."""

from __future__ import annotations

from pathlib import Path

import psutil

from perf.errors import Refusal
from perf.load import target
from perf.load.dialects.centrifuge import Centrifuge
from perf.load.publish_targets import server_api
from perf.systems.system import Launch, System


def system(named: str, secret: str, api_key: str, channel: str) -> System:
    """From "name=ws://127.0.0.1:8000/connection/websocket". Without an API key its clients publish over their own
    sockets.

    Raises `Refusal` for anything that is not on loopback.
    """
    name, equals, url = named.partition("=")
    if not equals or not name.replace("-", "").isalnum():
        raise Refusal(f"--target {named}: expected name=ws://127.0.0.1:<port>/<path>")
    if "{name}" not in channel:
        raise Refusal("--target-channel must contain {name}: each measurement has channels of its own")
    at = target.parse(url)

    def launch(folder: Path, cores: int) -> Launch:
        return Launch(
            programs=(),
            host=at.host,
            port=at.port,
            ready=lambda: True,
            dialect=Centrifuge(path=at.path, token_secret=secret),
            publish=server_api(at.port, api_key) if api_key else None,
            channel=channel,
            adopted=listeners(at.port),
        )

    return System(name, f"{name} (was running)", "unknown to perf", "unknown to perf", launch)


def listeners(port: int) -> list[int]:
    """The processes that listen on a TCP port of this machine; none if this user may not see them."""
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return []
    found = {one.pid for one in connections if one.status == psutil.CONN_LISTEN and one.laddr[1:2] == (port,)}
    return sorted(pid for pid in found if pid is not None)
