"""No protocol at all: the path of the upgrade names the channel, and publications arrive as text frames.

Django Channels, plain Starlette and nchan are used this way.
"""

from __future__ import annotations

from dataclasses import dataclass

from perf.load.dialects import Dialect, Opening


@dataclass(frozen=True, slots=True)
class ChannelInPath(Dialect):
    prefix: str = "/ws/"

    def opening(self, index: int) -> Opening:
        return Opening(self.prefix + self.channel_of(index), ())

    def accepts(self, step: int, message: bytes) -> bool:
        raise NotImplementedError("there is no step to wait for")
