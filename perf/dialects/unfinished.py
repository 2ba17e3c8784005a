"""Clients that stop half way, to weigh what each stage of a connection costs a server."""

from __future__ import annotations

from dataclasses import dataclass

from perf import frames
from perf.dialects import Dialect, Opening


@dataclass(frozen=True, slots=True)
class Unfinished(Dialect):
    """Upgraded on `path` and silent from then on; without a path not even upgraded."""

    path: str = ""

    def opening(self, index: int) -> Opening:
        return Opening(self.path, ())

    def accepts(self, step: int, message: bytes) -> bool:
        raise NotImplementedError("there is no step to wait for")

    def goodbye(self) -> bytes:
        return frames.close_frame(1000) if self.path else b""
