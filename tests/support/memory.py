"""Where tests keep the data of servers: in memory, where there is room.

A disk that several test processes fill with thousands of small files, stores of NATS and databases, takes a fifth of
the processor's time and makes all of them wait.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")
_ROOM_BYTES: Final = 6 * 1024**3
"""The bytes that must be free. Much less is used: the data of a test is removed when it has passed."""


def roomy_memory() -> Path | None:
    """A folder in memory in which programs may run, None where there is none or little room."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ROOM_BYTES:
        return None
    return None if os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC else _MEMORY
