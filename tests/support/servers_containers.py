"""The servers as official images, run by testcontainers. Their ports are fixed: a stopped one comes back on its own.

They are on the network of this machine: one of its own makes the start of a container three times as expensive, and
each byte takes a detour by the engine's proxy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import nats

from deploy.processes.ports import free_port
from tests.support.removals import Removals
from tests.support.servers import DATABASE_PASSWORD, DATABASE_USER, run_apart, wait_for_nats, wait_for_postgres

NATS_IMAGE = "nats:2.15-alpine"
POSTGRES_IMAGE = "postgres:17"
_REMOVED_WITHIN_S: Final = 10.0  # what fails does so at once; what takes longer may go on, as CI does


def missing() -> str | None:
    """Why containers cannot run here, for a person to read; None if they can."""
    try:
        import docker  # type: ignore[import-untyped]  # it ships none
    except ImportError:
        return "the Python package testcontainers is not installed: pip install --group dev"
    try:
        client = docker.from_env(timeout=10)
        engine = client.info()
        client.close()
    except Exception as error:
        return f"no Docker engine answers ({type(error).__name__}); start one, or use TEST_BACKEND=native"
    elsewhere = engine["OperatingSystem"] == "Docker Desktop"  # in a virtual machine
    if elsewhere or any("rootless" in each for each in engine["SecurityOptions"]):
        return "containers of this Docker engine cannot have this machine's network; use TEST_BACKEND=native"
    return None


class Containers:
    """A NATS to which a test only sent requests is emptied for the next test: a container of its own for each
    would take a second of a processor, most of what such a test takes."""

    def __init__(self) -> None:
        self._idle: list[ContainerNats] = []
        self._removals = Removals()

    def nats(self, folder: Path) -> ContainerNats:
        if not self._idle:
            return ContainerNats(self._idle)
        server = self._idle.pop()
        run_apart(_delete_streams(server.url))
        return server

    def postgres(self) -> ContainerPostgres:
        return ContainerPostgres(self._removals)

    def close(self) -> list[str]:
        from docker.errors import DockerException  # type: ignore[import-untyped]  # as above

        left = []
        for server in self._idle:
            try:
                server.remove()
            except (DockerException, OSError) as error:  # OSError: the engine does not answer
                left.append(f"a NATS at {server.url}: {error}")
        return left + self._removals.not_done(_REMOVED_WITHIN_S)


async def _delete_streams(url: str) -> None:
    link = await nats.connect(url)
    manager = link.jetstream()
    while streams := await manager.streams_info():
        for stream in streams:
            assert stream.config.name is not None
            await manager.delete_stream(stream.config.name)
    await link.close()


class _Container:
    """A container that is made at its first start and kept until it is closed."""

    def __init__(self, image: str, command: str, variables: dict[str, str]) -> None:
        """`command` has {port} where the server's port belongs."""
        os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # its image cannot be fetched everywhere
        from testcontainers.core.container import DockerContainer

        self.port = free_port()
        self._recipe = DockerContainer(image).with_command(command.format(port=self.port)).with_envs(**variables)
        self._recipe.with_kwargs(network_mode="host")
        self._made: Any = None

    def _start(self) -> None:
        if self._made is None:
            self._recipe.start()
            self._made = self._recipe.get_wrapped_container()
        else:
            self._made.start()

    def close(self) -> None:
        if self._made is not None:
            self._recipe.stop()
            self._made = None
        self._recipe.get_docker_client().client.close()


class ContainerNats(_Container):
    """`idle` gets it when it is closed, unless a test has stopped it or worse."""

    def __init__(self, idle: list[ContainerNats]) -> None:
        super().__init__(NATS_IMAGE, "-a 127.0.0.1 -p {port} -js -sd /data", {})
        self._idle = idle
        self._is_as_made = True
        name = f"fairlead-nats-{os.urandom(6).hex()}"
        self._volumes = {f"{name}-data": "/data", f"{name}-backup": "/backup"}
        data = next(iter(self._volumes))
        self._recipe.with_volume_mapping(data, "/data", "rw")
        self.url = f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._start()
        wait_for_nats(self.port)

    def stop(self) -> None:
        self._is_as_made = False
        self._made.stop(timeout=10)

    def kill9(self) -> None:
        self._is_as_made = False
        self._made.kill()

    def pause(self) -> None:
        self._is_as_made = False
        self._made.pause()

    def resume(self) -> None:
        self._made.unpause()

    def back_up(self) -> None:
        self._copy("/data", "/backup")

    def restore(self) -> None:
        self._copy("/backup", "/data")

    def _copy(self, source: str, target: str) -> None:
        """By a container of the same image, which has busybox."""
        script = f"busybox rm -rf {target}/* && busybox cp -a {source}/. {target}/"
        mounts = {name: {"bind": where, "mode": "rw"} for name, where in self._volumes.items()}
        engine = self._recipe.get_docker_client().client
        engine.containers.run(NATS_IMAGE, ["-c", script], entrypoint="/bin/sh", volumes=mounts, remove=True)

    def close(self) -> None:
        if self._is_as_made and self._made is not None:
            self._idle.append(self)
        else:
            self.remove()

    def remove(self) -> None:
        if self._made is not None:
            self._made.reload()
            if self._made.status == "paused":
                self._made.unpause()
            engine = self._recipe.get_docker_client().client
            self._recipe.stop()
            self._made = None
            for volume in engine.volumes.list(filters={"name": list(self._volumes)}):
                volume.remove(force=True)
        super().close()


class ContainerPostgres(_Container):
    is_in_memory = False

    def __init__(self, removals: Removals) -> None:
        self._removals = removals
        variables = {"POSTGRES_USER": DATABASE_USER, "POSTGRES_PASSWORD": DATABASE_PASSWORD}
        variables["POSTGRES_INITDB_ARGS"] = "--auth-host=scram-sha-256"  # its loopback would be trusted
        settings = "-c fsync=off -c full_page_writes=off -c autovacuum=off"
        super().__init__(
            POSTGRES_IMAGE, f"postgres -c port={{port}} -c listen_addresses=127.0.0.1 {settings}", variables
        )

    def start(self) -> None:
        self._start()
        wait_for_postgres(self.port)

    def stop(self) -> None:
        self._made.stop(timeout=10)

    def kill9(self) -> None:
        self._made.kill()

    def close(self) -> None:
        if self._made is not None:
            self._removals.begin(self._made.id)
            self._made = None
        super().close()
