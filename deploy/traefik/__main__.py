"""`python -m deploy.traefik --gate ADDRESS... --ready URL -- traefik ARGUMENTS...`: runs Traefik behind its gates."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.traefik import tls
from deploy.traefik.gate import SUPPORTED, Gate, GatesUnsupported
from deploy.traefik.keeper import Keeper, NeverReady

log = logging.getLogger("deploy.traefik")

_PR_SET_NAME: Final = 15  # linux/prctl.h


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until a signal; returns Traefik's exit code, or 1 with the reason if it cannot run."""
    parser = argparse.ArgumentParser(prog="python -m deploy.traefik", description=__doc__)
    parser.add_argument(
        "--gate",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="of an entry point with reusePort; clients reach Traefik there only while it has its routes",
    )
    parser.add_argument("--ready", required=True, metavar="URL", help="where a route of Traefik answers 200")
    parser.add_argument(
        "--tls", type=_switch, default=False, help="true: Traefik serves a certificate, which is checked first"
    )
    parser.add_argument(
        "--certificates", type=Path, metavar="FOLDER", help="the folder of the certificate: tls.crt and tls.key"
    )
    parser.add_argument("command", nargs="+", help="Traefik and its arguments, after --")
    given = parser.parse_args(arguments)
    _configure_log()
    _take_name()
    try:
        if given.tls:
            tls.check(given.certificates)
        return asyncio.run(_run(Keeper(given.command, _gates(given.gate), given.ready)))
    except (OSError, ValueError, NeverReady, tls.CertificateUnusable) as error:
        log.error("%s", error)
        return 1


def _switch(text: str) -> bool:
    """Accepts only "true" and "false", unlike Traefik, as the file of routes knows only "true"."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f'expected true or false (TLS in .env), got "{text}"')
    return text == "true"


async def _run(keeper: Keeper) -> int:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, keeper.stop)
    return await keeper.run()


def _gates(addresses: Sequence[str]) -> list[Gate]:
    try:
        return [Gate(address) for address in addresses] if SUPPORTED else []
    except GatesUnsupported as error:
        log.warning("Traefik has its ports to itself: clients get 404 for a moment whenever it starts (%s)", error)
        return []


def _take_name() -> None:
    """Names the process, so that lists of processes, and `make up` if a port is taken, show more than "python"."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_NAME, b"traefik-keeper")


def _configure_log() -> None:
    logging.Formatter.converter = time.gmtime
    form = "%(asctime)s.%(msecs)03dZ %(levelname)-7s traefik-keeper: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, datefmt="%Y-%m-%dT%H:%M:%S", stream=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
