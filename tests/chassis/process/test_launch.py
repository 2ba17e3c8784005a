"""How a service's process starts: settings that it refuses, and modules that it does not load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

from deploy.processes.ports import free_port
from services.chassis.process import launch
from services.chassis.process.launch import Command, Service, Tool
from services.chassis.process.settings import ConfigurationError, LogSettings
from services.edge.settings import EdgeSettings

ROOT = Path(__file__).resolve().parents[3]
AT_THE_END_OF_THE_START = """
import gc, json, sys, uvicorn

def say(self, sockets=None):
    loaded = [name for name, module in sys.modules.items() if module]
    print(json.dumps([loaded, gc.isenabled(), gc.get_freeze_count(), collections() - before, gc.get_threshold()]))

def collections():
    return sum(generation["collections"] for generation in gc.get_stats())

uvicorn.Server.run = say
from services.SERVICE.__main__ import main
before = collections()
main()
"""
VARIABLES = {
    "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": "a-secret-of-the-tests-that-is-long-enough",
    "FAIRLEAD_HTTP_API_KEY": "an-api-key-of-the-tests",
    "FAIRLEAD_POSTGRES_URL": "postgresql://127.0.0.1/none",
}
LARGE = {
    "aiohttp": "only to ask backends over HTTP; nats-py loads it where it is",
    "alembic": "only to migrate",
    "cryptography": "only for public keys",
    "httpx": "only to fetch keys",
    "jwt": "only for public keys",
    "pydantic": "by sqlmodel",
    "sqlalchemy": "only to migrate",
    "sqlmodel": "only to migrate",
    "websockets.asyncio": "only its mask function is used",
}
"""Modules that a start with default settings does not need, and the settings that need them."""


class Started(NamedTuple):
    """A service's process at the moment when its server would begin to serve."""

    loaded: set[str]
    collects: bool
    frozen: int
    collections: int
    thresholds: list[int]


@cache
def started(service: str, **variables: str) -> Started:
    process = subprocess.run(
        [sys.executable, "-c", AT_THE_END_OF_THE_START.replace("SERVICE", service)],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            f"FAIRLEAD_{service.upper()}_PORT": str(free_port()),  # a stack may have the default one
            **VARIABLES,
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=30,
        cwd="/",
    )
    assert process.returncode == 0, process.stderr
    loaded, *rest = json.loads(process.stdout)
    return Started(set(loaded), *rest)


@pytest.mark.parametrize("service", ["edge", "sessions", "metrics"])
def test_a_start_loads_nothing_large_that_it_does_not_use(service: str) -> None:
    loaded = started(service).loaded
    assert f"services.{service}.app" in loaded
    assert sorted(loaded & set(LARGE)) == []


@pytest.mark.parametrize("service", ["edge", "sessions", "metrics"])
def test_garbage_is_looked_for_when_it_serves_and_not_among_what_it_started_with(service: str) -> None:
    process = started(service)
    assert process.collects
    assert process.collections < 20  # for the settings, before any part is loaded
    assert process.frozen > 20_000


@pytest.mark.parametrize("service", ["edge", "sessions", "metrics"])
def test_everything_is_hardly_ever_searched_unless_it_is_set_otherwise(service: str) -> None:
    assert started(service).thresholds == [700, 10, 1000]
    assert started(service, FAIRLEAD_PROCESS_GC_THRESHOLDS="5000,20,30").thresholds == [5000, 20, 30]
    assert started(service, FAIRLEAD_PROCESS_GC_THRESHOLDS="").thresholds == [700, 10, 10], "Python's own"


def unusable(environ: Mapping[str, str]) -> EdgeSettings:
    raise ConfigurationError("edge.port: expected a number")


def unreachable(settings: object, read: object = None) -> NoReturn:
    raise AssertionError


def test_a_mistake_in_the_settings_ends_the_process_with_what_it_is() -> None:
    with pytest.raises(SystemExit, match=r"^fairlead-edge: edge\.port: expected a number$"):
        Service("edge", unusable, unreachable, unreachable).settings({})


def test_a_tool_runs_where_there_are_no_settings_yet(capsys: pytest.CaptureFixture[str]) -> None:
    def describe(parser: ArgumentParser) -> None:
        parser.add_argument("name")

    def greet(asked: Namespace) -> None:
        sys.stdout.write(f"hello {asked.name}\n")

    tools = {"greet": Tool("say hello", greet, describe)}
    Service("edge", unusable, unreachable, unreachable, tools=tools).main(["greet", "alice"], {})
    assert capsys.readouterr().out == "hello alice\n"


class Plain(NamedTuple):
    """The settings of a service with hardly any settings."""

    log: LogSettings = LogSettings()
    name: str = "plain"


def test_the_log_of_a_command_is_quiet_unless_it_tells_what_the_command_does(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet: list[bool] = []
    monkeypatch.setattr(launch, "configure", lambda settings, name, is_quiet: quiet.append(is_quiet))

    def work(settings: Plain, asked: Namespace) -> None:
        assert asked.command

    commands = {"ask": Command("ask", work), "migrate": Command("migrate", work, is_logged=True)}
    service = Service("plain", lambda environ: Plain(), unreachable, unreachable, commands)
    for command in commands:
        service.main([command], {})
    assert quiet == [True, False]


@pytest.mark.parametrize("service", ["edge", "sessions", "metrics"])
def test_a_mistake_is_told_before_the_parts_are_loaded(service: str) -> None:
    process = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"services.{service}"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "FAIRLEAD_NATS_URLS": "x"},
        capture_output=True,
        text=True,
        timeout=30,
        cwd="/",
    )
    assert process.returncode == 1
    assert "did you mean FAIRLEAD_NATS_URL?\n" in process.stderr
    assert f"fairlead-{service}: " in process.stderr
    loaded = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
    assert {"services.chassis.process.settings", "msgspec"} <= loaded
    assert loaded.isdisjoint({"nats", "uvicorn", "starlette", "prometheus_client", "asyncpg"})
