"""The logs of all processes as one, each line after the name of the process that wrote it."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from deploy.local.settings import Folders
from deploy.processes.process import tail

_POLL_S = 0.2
_CHUNK_BYTES = 256 * 1024
_NAME_WIDTH = 11
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


@dataclass
class _Source:
    path: Path
    prefix: str
    offset: int
    inode: int = 0
    partial: bytes = b""

    def read(self) -> list[str]:
        """The complete lines written since the last call. After a rotation, reading continues in the new file."""
        try:
            with self.path.open("rb") as file:
                now = os.fstat(file.fileno())
                rest = b""
                if self.inode and now.st_ino != self.inode:
                    rest, self.offset = self._rest_of_rotated(), 0
                elif now.st_size < self.offset:  # emptied in place
                    self.offset, self.partial = 0, b""
                self.inode = now.st_ino
                file.seek(self.offset)
                data = file.read(_CHUNK_BYTES)
        except OSError:
            return []
        self.offset += len(data)
        data = rest + data
        *lines, self.partial = (self.partial + data).split(b"\n")
        self.partial = self.partial[-_CHUNK_BYTES:]
        return [line.decode(errors="replace") for line in lines]

    def _rest_of_rotated(self) -> bytes:
        with contextlib.suppress(OSError), self.path.with_name(self.path.name + ".1").open("rb") as file:
            if os.fstat(file.fileno()).st_ino == self.inode:
                file.seek(self.offset)
                return file.read(_CHUNK_BYTES)
        return b""  # rotated twice meanwhile: more than a person can read


def sizes(folders: Folders) -> dict[Path, int]:
    """The size of each log now: the place where `follow` and `tail` begin."""
    return {path: path.stat().st_size for path in folders.logs.glob("*.log")}


def show_last(folders: Folders, out: TextIO, lines: int, coloured: bool) -> None:
    """Prints the last lines of every log, process by process."""
    paint = _painter(coloured)
    for path in sorted(folders.logs.glob("*.log")):
        for line in tail(path, lines):
            out.write(f"{paint(path.stem)}{line}\n")
    out.flush()


def follow(folders: Folders, since: dict[Path, int], out: TextIO, coloured: bool, go_on: Callable[[], bool]) -> None:
    """Prints what all processes write, from the sizes in `since` on, until `go_on()` is false."""
    sources: dict[Path, _Source] = {}
    paint = _painter(coloured)
    while True:
        going = go_on()  # called first: what was written before the end is still printed
        for path in sorted(folders.logs.glob("*.log")):
            source = sources.get(path)
            if source is None:
                source = sources[path] = _Source(path, paint(path.stem), since.get(path, 0))
            for line in source.read():
                out.write(f"{source.prefix}{line}\n")
        out.flush()
        if not going:
            return
        time.sleep(_POLL_S)


def _painter(coloured: bool) -> Callable[[str], str]:
    """Returns a function that makes prefixes, with a colour for each process if `coloured`."""
    colours = itertools.cycle(_COLOURS)
    known: dict[str, str] = {}

    def paint(name: str) -> str:
        if name not in known:
            text = f"{name:<{_NAME_WIDTH}} | "
            known[name] = f"\x1b[{next(colours)}m{text}\x1b[0m" if coloured else text
        return known[name]

    return paint
