"""Clients that stop half way, so that the memory of each stage of a connection can be measured."""

from __future__ import annotations

from dataclasses import dataclass

from perf.load import frames
from perf.load.dialects import Dialect, Opening


@dataclass(frozen=True, slots=True)
class Unfinished(Dialect):
    """Upgraded on `path` and silent from then on; without a path not even upgraded."""

    path: str = ""

    def opening(self, index: int) -> Opening:
        return Opening(self.path, ())

    def accepts(self, step: int, message: bytes) -> bool:
        raise NotImplementedError("there is no step to wait for")

    def leave_frame(self) -> bytes:
        return frames.close_frame(1000) if self.path else b""
