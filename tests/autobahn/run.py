"""Runs the Autobahn test suite against the edge's WebSocket and writes down how each case ended.

    python -m tests.autobahn.run perf/results/2026-11-24-autobahn/cases.json

It needs CPython 2.7 (`python2.7`, or 2.7.18 of pyenv) and takes about ten minutes, so it is no part of `make test`. The
suite gets an environment of its own in the folder for temporary files. Exits 1 unless every case is OK, or only
informs.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ENVIRONMENT = Path(tempfile.gettempdir()) / "fairlead-autobahn"
PASSED = {"OK", "INFORMATIONAL"}
START_TIMEOUT_S = 20.0


def python_2() -> str:
    """The interpreter of the suite. Raises `SystemExit` when there is none."""
    if shutil.which("pyenv"):  # whose own python2.7 fails where another version is chosen
        prefix = subprocess.run(["pyenv", "prefix", "2.7.18"], capture_output=True, text=True, check=False)
        if prefix.returncode == 0:
            return f"{prefix.stdout.strip()}/bin/python"
    if found := shutil.which("python2.7"):
        return found
    raise SystemExit("CPython 2.7 is needed: pyenv install 2.7.18")


def prepared() -> Path:
    """The suite's program, installed if it is not there yet."""
    program = ENVIRONMENT / "bin" / "wstest"
    if not program.exists():
        uv = Path(sys.executable).with_name("uv")  # the last virtualenv that makes environments of 2.7:
        make: list[str | Path] = [
            uv,
            "tool",
            "run",
            "--from",
            "virtualenv<20.22",
            "virtualenv",
            "-p",
            python_2(),
            ENVIRONMENT,
        ]
        subprocess.run(make, check=True)
        packages: list[str | Path] = [ENVIRONMENT / "bin" / "pip", "install", "-r", HERE / "requirements.txt"]
        subprocess.run(packages, check=True)
    return program


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as caller:
            if caller.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("the echo server did not start")


def examine(program: Path, cases: list[str], exclude: list[str]) -> dict[str, Any]:
    """The suite's index: case by case, how it ended."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "tests.autobahn.echo_server", str(port)], cwd=ROOT)
    try:
        wait_for(port, server)
        with tempfile.TemporaryDirectory() as folder:
            target = {"agent": "Fairlead", "url": f"ws://127.0.0.1:{port}/connection/websocket"}
            spec = Path(folder) / "spec.json"
            spec.write_text(
                json.dumps(
                    {"outdir": folder, "servers": [target], "cases": cases, "exclude-cases": exclude, "options": {}}
                )
            )
            subprocess.run([program, "-m", "fuzzingclient", "-s", spec], cwd=folder, check=True)
            index: dict[str, Any] = json.loads((Path(folder) / "index.json").read_text())["Fairlead"]
            return index
    finally:
        server.terminate()
        server.wait()


def condensed(index: dict[str, Any]) -> dict[str, Any]:
    """How many cases of each section ended how, and each case."""
    names = sorted(index, key=lambda name: [int(part) for part in name.split(".")])
    sections: dict[str, Counter[str]] = {}
    for name in names:
        sections.setdefault(name.partition(".")[0], Counter())[index[name]["behavior"]] += 1
    return {
        "versions": {
            "autobahntestsuite": "0.8.2",
            "python": platform.python_version(),
            **{package: version(package) for package in ("websockets", "uvicorn", "uvloop", "httptools")},
        },
        "run": len(names),
        "passed": sum(is_passed(index[name]) for name in names),
        "sections": sections,
        "cases": {name: [index[name]["behavior"], index[name]["behaviorClose"]] for name in names},
    }


def is_passed(case: dict[str, Any]) -> bool:
    return case["behavior"] in PASSED and case["behaviorClose"] in PASSED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, help="the file to write")
    parser.add_argument("--cases", nargs="+", default=["*"], help='such as "6.*"; all of them if it is left out')
    parser.add_argument("--exclude", nargs="+", default=[])
    arguments = parser.parse_args()
    index = examine(prepared(), arguments.cases, arguments.exclude)
    record = condensed(index)
    arguments.record.write_text(json.dumps(record, indent=1) + "\n")
    lines = [
        f"{section:>3}  {'  '.join(f'{count} {behavior}' for behavior, count in ended.items())}"
        for section, ended in record["sections"].items()
    ]
    lines.append(f"{record['run']} cases run, {record['passed']} passed")
    lines += [f"{name}: {case}" for name, case in record["cases"].items() if not is_passed(index[name])]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.exit(record["passed"] < record["run"])


if __name__ == "__main__":
    main()
