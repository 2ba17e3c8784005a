"""Reads an edge's settings as its process does, from a file and variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.chassis.process.settings import ConfigurationError
from services.edge.configuration import from_environ
from services.edge.settings import EdgeSettings

SECRET = {"FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": "a secret of the tests, " * 3}


def read(tmp_path: Path, text: str = "", environ: dict[str, str] = SECRET) -> EdgeSettings:
    file = tmp_path / "fairlead.toml"
    file.write_text(text, encoding="utf-8")
    return from_environ({"FAIRLEAD_CONFIG": str(file), **environ})


def refusal(tmp_path: Path, text: str = "", environ: dict[str, str] = SECRET) -> str:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, text, environ)
    return str(refused.value).replace(f"{tmp_path}/", "")
