"""Fixtures only; their classes are in tests/support."""

from __future__ import annotations

import functools
import gc
import inspect
import itertools
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers

from deploy.processes import ports
from tests.support.loop_guard import Unhandled
from tests.support.memory import roomy_memory
from tests.support.processes import Services
from tests.support.servers import Backend, NatsServer, Postgres, PostgresServer, choose_backend

# The same examples in every run: new ones are looked for on purpose (HYPOTHESIS_PROFILE=random), not in CI.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("random", deadline=None)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "repeatable")
hypothesis.settings.load_profile(PROFILE)
if PROFILE == "repeatable":
    # Hypothesis mixes constants of all loaded modules of ours into the examples: these would depend on the tests that
    # ran before in the same process, and change with any line of code. Reading the modules takes seconds, too.
    assert callable(providers._get_local_constants)
    providers._get_local_constants = lambda: providers._local_constants

TESTS_PER_FULL_COLLECTION = 200
"""How often frozen objects are collected too: cycles left by fixtures that have ended are among them."""
_tests = itertools.count(1)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A run with `-m "integration and ..."` does not read the files that name no such test: 25 s of each process."""
    if not config.option.markexpr.startswith("integration ") or not collection_path.match("test_*.py"):
        return None
    return None if _names_integration(collection_path) else True


@functools.cache
def _names_integration(file: Path) -> bool:
    return "mark.integration" in file.read_text()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("integration") and not _names_integration(item.path):
            raise pytest.UsageError(f"{item.path}: expected its mark `integration` in the file (see tests/conftest.py)")
    items.sort(key=_shortness)


def _shortness(item: pytest.Item) -> int:
    """Files that take minutes go first, and those without servers last, so that no process of xdist is left alone with
    a long file at the end (`--no-loadscope-reorder` keeps this order)."""
    folders = item.path.relative_to(Path(__file__).parent).parts
    if folders[:2] == ("perf", "modes") or folders[0] == "stack":
        return 0
    return 1 if _names_integration(item.path) else 2


def pytest_collection_finish() -> None:
    """From now on a collection walks only what the tests make, not the 360,000 objects that are there already."""
    gc.collect()
    gc.freeze()


def _collect_what_the_test_made() -> None:
    if next(_tests) % TESTS_PER_FULL_COLLECTION == 0:
        gc.unfreeze()
    gc.collect()
    gc.freeze()  # survivors, such as the reports of all tests, are not walked again after the next test


def _ports_of_this_worker() -> str:
    """A share of the run's free ports for each test process, which the processes that it starts inherit.

    The run's are those of FREE_PORTS, so that two runs can go on beside each other. The workers of xdist inherit them
    by a variable of their own, since FREE_PORTS is narrowed in the process that starts them too.
    """
    of_the_run = os.environ.setdefault("FREE_PORTS_OF_THE_RUN", os.environ.get(ports.RANGE_VARIABLE, ""))
    first, last = ports.parse_range(of_the_run)
    share = (last - first) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first += int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) * share
    return f"{first}-{first + share}"


os.environ[ports.RANGE_VARIABLE] = _ports_of_this_worker()

if memory := roomy_memory():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))  # where `tmp_path` is, with the stores of NATS in it

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's job in the background ignores SIGINT, and so would everything that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_unhandled_exception(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test in whose event loops a task or a callback failed unnoticed."""
    guard = Unhandled()
    logging.getLogger("asyncio").addHandler(guard)
    yield
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        _collect_what_the_test_made()  # a task reports its unread exception when it is collected
    logging.getLogger("asyncio").removeHandler(guard)
    assert not guard.reports, "the event loop reported: " + "\n".join(guard.reports)


_BACKEND = pytest.StashKey[Backend]()
_NOT_REMOVED = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """Native servers or containers, by TEST_BACKEND."""
    chosen = request.config.stash[_BACKEND] = choose_backend()
    return chosen


@pytest.hookimpl(trylast=True)  # after fixtures have closed their servers, also if the run was interrupted
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Closes the backend outside of the time that a test may take."""
    chosen = session.config.stash.get(_BACKEND, None)
    left = [] if chosen is None else chosen.close()
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["not_removed"] = left
    else:
        session.config.stash.setdefault(_NOT_REMOVED, []).extend(left)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Receives what a process of xdist has reported."""
    left = getattr(node, "workeroutput", {}).get("not_removed", [])
    node.config.stash.setdefault(_NOT_REMOVED, []).extend(left)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left := config.stash.get(_NOT_REMOVED, []):
        terminalreporter.section("servers that were not removed", red=True)
        for each in left:
            terminalreporter.line(each)


@pytest.fixture
def chosen_backend(backend: Backend, request: pytest.FixtureRequest) -> Backend:
    """`backend`, for a test that runs once on each of the two kinds."""
    assert request.node.get_closest_marker("native") is None, "a test on servers of the backend is not `native`"
    return backend


@pytest.fixture
def nats_server(chosen_backend: Backend, tmp_path: Path) -> Iterator[NatsServer]:
    """A NATS server of this test's own."""
    server = chosen_backend.nats(tmp_path / "nats")
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def _postgres_server(backend: Backend) -> Iterator[PostgresServer]:
    server = backend.postgres()
    try:
        server.start()
        Postgres.prepare(server)
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def _databases_of_before() -> list[Postgres]:
    """Those of tests that are over: processes that a test started may end after its database would."""
    return []


@pytest.fixture
def postgres(
    _postgres_server: PostgresServer, _databases_of_before: list[Postgres], chosen_backend: Backend
) -> Iterator[Postgres]:
    """A database of this test's own, with the tables of the services; the server may be stopped and started."""
    _postgres_server.start()
    while _databases_of_before:
        _databases_of_before.pop().close()
    made = Postgres(_postgres_server)
    yield made
    _postgres_server.start()
    _databases_of_before.append(made)


@pytest.fixture
def empty_postgres(postgres: Postgres) -> Postgres:
    """The same with a database that has no tables."""
    postgres.url = postgres.empty_database()
    return postgres


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Starts services as processes. Their logs are in the report of a failed test; a traceback in one fails it."""
    running = Services(tmp_path / "services")
    yield running
    running.close()
    sys.stdout.write(running.report())
    assert not running.tracebacks() or running.allow_tracebacks, f"traceback in the log of {running.tracebacks()}"
