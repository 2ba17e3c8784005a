"""The secrets of the local stack: made once, kept in `.fairlead/secrets.env`, readable only by their owner."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from deploy.local.settings import LocalStackError

TOKEN_KEY = "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY"
API_KEY = "FAIRLEAD_HTTP_API_KEY"
POSTGRES_PASSWORD = "POSTGRES_PASSWORD"
_NAMES = (TOKEN_KEY, API_KEY, POSTGRES_PASSWORD)
_SECRET_BYTES = 32


def ensure(path: Path) -> dict[str, str]:
    """The secrets by name. Missing ones are made and added to the file. Raises `LocalStackError`."""
    known = read(path)
    missing = [name for name in _NAMES if not known.get(name)]
    if missing:
        known |= {name: secrets.token_hex(_SECRET_BYTES) for name in missing}
        _write(path, known)
    return known


def read(path: Path) -> dict[str, str]:
    """The secrets by name; none if there is no file yet. Raises `LocalStackError` for a line that is not NAME=value."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LocalStackError(f"{path}: cannot be read: {error.strerror}") from None
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not value.strip():
            raise LocalStackError(f"{path}, line {number}: expected NAME=value")
        found[name.strip()] = value.strip()
    return found


def _write(path: Path, values: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    text = "# Made by `make up` for this checkout's local stack only. Delete .fairlead/ to start from scratch.\n"
    text += "".join(f"{name}={value}\n" for name, value in values.items())
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    new.replace(path)
