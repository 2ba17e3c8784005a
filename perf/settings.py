"""The addresses and secrets of the running stack: from the environment, the local stack's files, or the defaults.

`make up` keeps its generated secrets in `.fairlead/secrets.env`, one NAME=value a line, and its ports in
`.fairlead/run/stack.json`. A variable of the environment has priority over either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

STATE_FOLDER = Path(".fairlead")

_DEFAULT_PORTS = {"traefik_sockets": 8002, "nats": 4222, "sessions": 8201}


@dataclass(frozen=True, slots=True)
class PerfSettings:
    """`environ` is the environment of a process of the stack: the stack's secrets, overridden by the environment."""

    token_secret: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    nats_url: str = field(default="nats://127.0.0.1:4222", repr=False)  # may contain a password
    websocket_url: str = "ws://127.0.0.1:8002/connection/websocket"  # Traefik, where it passes TCP through
    sessions_url: str = "http://127.0.0.1:8201"
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


def load(environ: Mapping[str, str], state_folder: Path = STATE_FOLDER) -> PerfSettings:
    ports = _ports(state_folder / "run" / "stack.json")
    nats_url = f"nats://127.0.0.1:{ports['nats']}"
    merged = {"FAIRLEAD_NATS_URL": nats_url, **_secrets(state_folder / "secrets.env"), **environ}
    return PerfSettings(
        token_secret=merged.get("FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY", ""),
        api_key=merged.get("FAIRLEAD_HTTP_API_KEY", ""),
        nats_url=merged["FAIRLEAD_NATS_URL"],
        websocket_url=f"ws://127.0.0.1:{ports['traefik_sockets']}/connection/websocket",
        sessions_url=f"http://127.0.0.1:{ports['sessions']}",
        environ=merged,
    )


def _ports(path: Path) -> dict[str, int]:
    try:
        return {**_DEFAULT_PORTS, **msgspec.json.decode(path.read_bytes(), type=_Record).ports}
    except (OSError, msgspec.DecodeError):
        return _DEFAULT_PORTS


class _Record(msgspec.Struct):
    ports: dict[str, int]


def _secrets(path: Path) -> dict[str, str]:
    try:
        text = path.read_text()
    except OSError:
        return {}
    values = {}
    for line in text.splitlines():
        name, equals, value = line.removeprefix("export ").partition("=")
        if equals and not line.lstrip().startswith("#"):
            values[name.strip()] = value.strip().strip("'\"")
    return values
