"""Mutated payloads and commands on two edges: `python -m tests.mutations.run` starts them, on NATS of its own.

    python -m tests.mutations.run --texts 300000 --commands 10000 --python /path/to/python3.13

`--python` runs the second edge, from an environment as `deploy/Dockerfile` makes it: with the packages of
`deploy/requirements.lock` and what `deploy/distribution.py` adds. With `--edges URL URL` two edges
that run already are used: their namespaces and limits are those of `tests.mutations.storm.TOML`, their tokens are
signed with `--secret`. Exits 1 with the text that broke a promise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.mutations.storm import TOML, Storm
from tests.support.edges import SECRET, token
from tests.support.processes import Services
from tests.support.servers_native import Native


@contextlib.asynccontextmanager
async def own_edges(pythons: list[str]) -> AsyncIterator[tuple[str, str]]:
    """Two edges on a NATS of their own, each by its Python."""
    with tempfile.TemporaryDirectory(prefix="fairlead-mutations-") as folder:
        nats = Native().nats(Path(folder) / "nats")
        services = Services(Path(folder))
        try:
            nats.start()
            settings = {"FAIRLEAD_NATS_URL": nats.url, "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": SECRET}
            started = [services.start("edge", settings, TOML, f"edge-{n}", python) for n, python in enumerate(pythons)]
            first, second = [await each.ready() for each in started]
            yield first.ws_url, second.ws_url
            assert not services.tracebacks(), services.report()
        finally:
            services.close()
            nats.close()


async def run(given: argparse.Namespace, pythons: list[str]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        edges = tuple(given.edges) if given.edges else await stack.enter_async_context(own_edges(pythons))
        storm = await stack.enter_async_context(Storm(edges, token("mutations", given.secret)))
        await storm.texts(given.texts, given.seed)
        await storm.commands(given.commands, given.seed)
        sys.stdout.write(f"{storm.report}\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations.run")
    parser.add_argument("--texts", type=int, default=300_000)
    parser.add_argument("--commands", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--python", default=sys.executable, help="of the second edge")
    parser.add_argument("--edges", nargs=2, metavar="URL", help="WebSocket addresses of edges that run already")
    parser.add_argument("--secret", default=SECRET)
    given = parser.parse_args()
    pythons = [sys.executable, given.python]
    if not given.edges:
        versions = [subprocess.check_output([python, "--version"], text=True).strip() for python in pythons]
        sys.stdout.write(f"edges on {' and '.join(versions)}\n")
    began = time.monotonic()
    asyncio.run(run(given, pythons))
    sys.stdout.write(f"no subscriber was ended; {time.monotonic() - began:.0f} s\n")


if __name__ == "__main__":
    main()
