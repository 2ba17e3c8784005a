"""The rules of deploy/observe and their tests, as Prometheus reads them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
OBSERVE = ROOT / "deploy/observe"
RULES = sorted((OBSERVE / "rules").glob("*.yml"))
TESTS = sorted((OBSERVE / "tests").glob("*.yml"))


@dataclass(frozen=True)
class Rule:
    """One rule: of an alert or, if `is_alert` is false, of a recorded series."""

    name: str
    is_alert: bool
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def rules_of(path: Path) -> Path:
    """The file of rules that a file of tests is about."""
    (named,) = read(path)["rule_files"]
    return Path(path.parent, named).resolve()


def rules() -> list[Rule]:
    """All of them, in the order of the files."""
    return [
        Rule(
            name=one.get("alert") or one["record"],
            is_alert="alert" in one,
            expr=one["expr"],
            labels=one.get("labels", {}),
            annotations=one.get("annotations", {}),
        )
        for path in RULES
        for group in read(path)["groups"]
        for one in group["rules"]
    ]


def alerts() -> list[Rule]:
    return [rule for rule in rules() if rule.is_alert]


def promtool(*arguments: str) -> str:
    """What it prints. Fails the test if it finds fault, or is not installed."""
    return observer("promtool", *arguments)


def observer(program: str, *arguments: str) -> str:
    """What one of Prometheus's programs prints. Fails the test if it finds fault, or is not installed."""
    try:
        done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=170)
    except FileNotFoundError:
        pytest.fail(
            f"{program} is not on PATH: install Debian's prometheus and prometheus-alertmanager, as .ci/run does"
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
