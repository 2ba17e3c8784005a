"""A `curl` with the options that the pages use: `make test` needs nothing but Python and make."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

import httpx


def provide(folder: Path) -> Path:
    """Makes a folder in `folder` with a program `curl`, for the search path."""
    programs = folder / "programs"
    programs.mkdir()
    program = programs / "curl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n')
    program.chmod(0o755)
    return programs


def main() -> None:
    """Sends a GET with the options that the pages use, and writes the answer as it arrives."""
    parser = ArgumentParser()
    parser.add_argument("-N", "--no-buffer", action="store_true")
    parser.add_argument("-G", "--get", action="store_true", required=True)
    parser.add_argument("-b", "--cookie")
    parser.add_argument("--data-urlencode", action="append", default=[])
    parser.add_argument("url")
    asked = parser.parse_args()
    query = dict(one.split("=", 1) for one in asked.data_urlencode)
    headers = {"Cookie": asked.cookie} if asked.cookie else {}
    with httpx.stream("GET", asked.url, params=query, headers=headers, timeout=None, trust_env=False) as answer:
        for piece in answer.iter_bytes():
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
