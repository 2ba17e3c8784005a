"""Where the running stack is and what opens it: the environment, then the local stack's secrets, then the defaults.

`make up` keeps its generated secrets in `.fairlead/secrets.env`, one NAME=value a line; a variable of the environment
wins over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECRETS_FILE = Path(".fairlead/secrets.env")


@dataclass(frozen=True, slots=True)
class PerfSettings:
    """`environ` is what a process of the stack gets to see: the environment over the stack's secrets."""

    token_secret: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    nats_url: str = field(default="nats://127.0.0.1:4222", repr=False)  # a password may stand in it
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


def load(environ: Mapping[str, str], secrets_file: Path = SECRETS_FILE) -> PerfSettings:
    merged = {**_read(secrets_file), **environ}
    return PerfSettings(
        token_secret=merged.get("FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY", ""),
        api_key=merged.get("FAIRLEAD_HTTP_API_KEY", ""),
        nats_url=merged.get("FAIRLEAD_NATS_URL") or "nats://127.0.0.1:4222",
        environ=merged,
    )


def _read(path: Path) -> dict[str, str]:
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
