"""Reads the configuration file: TOML, named by `FAIRLEAD_CONFIG`."""

from __future__ import annotations

import os
import tomllib
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from services.chassis.process.configured_files import read_configured

CONFIG_VARIABLE: Final = "FAIRLEAD_CONFIG"
DEFAULT: Final = "fairlead.toml"
MAX_BYTES: Final = 16 * 1024**2


def pinned(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The variables, in which the default file is named if it exists now, so that a reload fails if the file is
    gone."""
    if environ.get(CONFIG_VARIABLE) or not os.path.exists(DEFAULT):
        return environ
    return {**environ, CONFIG_VARIABLE: DEFAULT}


def read_file(name: str) -> tuple[str, dict[str, Any]]:
    """The path of the file and its tables. "" is `fairlead.toml` in the working directory, which may be absent.

    Raises ValueError, which names the file and says why it cannot be read.
    """
    path = Path(name or DEFAULT)
    try:
        data = read_configured(path, MAX_BYTES + 1)
    except FileNotFoundError:
        if not name:
            return "no configuration file", {}
        or_pinned = ", or it was there before" if name == DEFAULT else ""
        raise ValueError(f"{path}: there is no such file ({CONFIG_VARIABLE} names it{or_pinned})") from None
    except OSError as error:
        named = f" ({CONFIG_VARIABLE} names it)" if name else ""
        raise ValueError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}{named}") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_BYTES} bytes")
    try:
        return str(path), tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not TOML: it is not text in UTF-8, from byte {error.start} on") from None
    except RecursionError:
        raise ValueError(f"{path}: is not TOML: it nests too deep") from None
    except tomllib.TOMLDecodeError as error:
        mark = "; it begins with a byte order mark: save it without" if data.startswith(BOM_UTF8) else ""
        raise ValueError(f"{path}: is not TOML: {error}{mark}") from None
    except ValueError:
        raise ValueError(f"{path}: is not TOML: a number has too many digits") from None
