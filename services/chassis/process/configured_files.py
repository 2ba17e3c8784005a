"""Reads the files that a configuration names. None of them may block a process, at its start or at a reload."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_configured(path: Path, most: int) -> bytes:
    """The content of a file, cut off after `most` bytes.

    Raises OSError with the reason in `strerror`. It does so even for a pipe: reading one would block, and a second read
    would find it empty. Raises ValueError for something that is not a path.
    """
    with open(path, "rb", opener=_without_a_wait) as file:
        if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "it is a pipe, which can be read only once; expected a file")
        return file.read(most)


def _without_a_wait(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
