"""`python -m perf <mode> [options]`; `--help` after each says more. Exit code 0, 1 (something failed), 2 (refused)."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys

from perf import modes, settings
from perf.errors import Refusal


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m perf", description="Measures Fairlead from outside: the running stack, or servers of its own."
    )
    choices = parser.add_subparsers(title="modes", required=True, metavar="mode")
    named = [name for name in arguments[:1] if name in modes.NAMES]
    for name in named or sorted(modes.NAMES):  # only a named mode is loaded
        mode = importlib.import_module(f"perf.modes.{name}")
        text = (mode.__doc__ or "").strip()
        sub = choices.add_parser(
            name,
            help=text.partition("\n")[0].replace("%", "%%"),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        mode.add_arguments(sub)
        sub.set_defaults(run=mode.run)
    chosen = parser.parse_args(arguments)
    chosen.command_line = arguments
    try:
        code: int = asyncio.run(chosen.run(chosen, settings.load(os.environ)))
    except Refusal as refusal:
        print(f"perf: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("perf: interrupted, no figures", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
