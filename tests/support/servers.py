"""Real NATS and PostgreSQL for a test, natively or in containers: the same handles either way.

TEST_BACKEND=native runs the servers that come as wheels (`.[local]`), =containers runs the official images by
testcontainers, =auto (the default) takes the first of the two that is there. A backend that was asked for and is
missing is an error that says what to do, never a skip.

Every port is one of `deploy.processes.ports`: on 127.0.0.1, and apart from those of test processes beside this one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

import asyncpg

from deploy.processes.readiness import nats_greets
from services.metrics.schema_postgres import SCHEMA as METRICS
from services.sessions.schema_postgres import SCHEMA as SESSIONS
from tests.support.eventually import wait_until

_WITH_TABLES = "with_tables"
DATABASE_USER = "fairlead"
DATABASE_PASSWORD = "a-password-of-the-tests"  # a recognisable one: tests look for it in logs


class MissingBackend(Exception):
    """TEST_BACKEND names servers that this machine does not have."""


class NatsServer(Protocol):
    """One NATS server with JetStream on a file store; `start` comes back on the same port with the same store."""

    url: str

    def start(self) -> None: ...
    def stop(self) -> None:
        """Ends it in order."""

    def kill9(self) -> None:
        """Kills it, without an orderly end."""

    def pause(self) -> None:
        """Makes it hang: connections stay, nothing is answered."""

    def resume(self) -> None: ...
    def back_up(self) -> None:
        """Keeps a copy of its store; it must be stopped."""

    def restore(self) -> None:
        """Puts the copy in the place of its store; it must be stopped."""

    def close(self) -> None:
        """Ends it for good."""


class PostgresServer(Protocol):
    """One PostgreSQL; `start` after `stop` comes back on the same port with the same data."""

    port: int
    is_in_memory: bool
    """Whether it has its data in memory, so that databases have to go with their tests."""

    def start(self) -> None: ...
    def stop(self) -> None:
        """Ends it at once, with every connection to it."""

    def kill9(self) -> None:
        """Ends all of its processes as a crash would: the next start recovers what was committed."""

    def close(self) -> None:
        """Ends it for good and removes its data."""


class Postgres:
    """A database of its own for one test, on a server that the tests of a run share and `prepare` made ready.

    `url` is that of a database with the tables of this version of the services: most tests need them, and a copy of
    the files takes a tenth of the migrations' time.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.start = server.start
        self.stop = server.stop
        self.kill9 = server.kill9
        self._made: list[str] = []
        self.url = self._make(_WITH_TABLES)

    @classmethod
    def prepare(cls, server: PostgresServer) -> None:
        """Makes the database that those of the tests are copies of, once."""
        run_apart(_execute(_url(server, "postgres"), f"CREATE DATABASE {_WITH_TABLES}"))
        for schema in (SESSIONS, METRICS):
            run_apart(schema.migrate(_url(server, _WITH_TABLES)))

    def empty_database(self) -> str:
        """Makes a database without any tables; its URL."""
        return self._make("template0")

    def copy(self) -> str:
        """Makes a copy of this database, to which nobody is connected now; its URL."""
        return self._make(self.url.rpartition("/")[2])

    def _make(self, template: str) -> str:
        name = f"t_{os.urandom(6).hex()}"
        statement = f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy'
        run_apart(_execute(_url(self._server, "postgres"), statement))
        self._made.append(name)
        return _url(self._server, name)

    def close(self) -> None:
        """Drops its databases where they take memory; elsewhere they go with the server."""
        if self._server.is_in_memory:
            drops = [f'DROP DATABASE "{name}" WITH (FORCE)' for name in self._made]
            run_apart(_execute(_url(self._server, "postgres"), *drops))


def _url(server: PostgresServer, database: str) -> str:
    return f"postgresql://{DATABASE_USER}:{DATABASE_PASSWORD}@127.0.0.1:{server.port}/{database}"


class Backend(Protocol):
    """Where the servers come from."""

    def nats(self, folder: Path) -> NatsServer:
        """A server without any stream, which has not been started or runs already."""

    def postgres(self) -> PostgresServer: ...
    def close(self) -> list[str]:
        """Removes what it keeps for further tests. Returns what could not be removed, and why."""


def choose_backend(name: str | None = None) -> Backend:
    """The backend that TEST_BACKEND (or `name`) asks for. Raises `MissingBackend`."""
    from tests.support import servers_containers, servers_native

    name = name or os.environ.get("TEST_BACKEND") or "auto"
    if name not in ("native", "containers", "auto"):
        raise MissingBackend(f"TEST_BACKEND={name!r}: expected native, containers or auto")
    lack = servers_native.missing()
    if name == "native" or (name == "auto" and lack is None):
        if lack is not None:
            raise MissingBackend(f"TEST_BACKEND=native, but {lack}; install them: pip install '.[local]'")
        return servers_native.Native()
    lack = servers_containers.missing()
    if lack is not None:
        raise MissingBackend(f"TEST_BACKEND={name}, but {lack}")
    return servers_containers.Containers()


def wait_for_nats(port: int) -> None:
    wait_until(lambda: nats_greets(port), f"NATS answers on port {port}")


def wait_for_postgres(port: int) -> None:
    """Until PostgreSQL takes a session on `port`."""
    url = f"postgresql://{DATABASE_USER}:{DATABASE_PASSWORD}@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        try:
            run_apart(_execute(url, "SELECT 1"))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return False
        return True

    wait_until(answers, f"PostgreSQL answers on port {port}", within_s=40)


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine in a loop of its own, also when the caller's thread already runs one."""
    failure: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # handed to the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
