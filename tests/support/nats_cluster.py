"""Three native NATS servers in one cluster, for tests of what only a cluster does: lose one server, or a majority."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil

from deploy.processes import nats
from deploy.processes.ports import HOST, free_port
from deploy.processes.process import Process, Program
from services.chassis.nats.link import NatsLink
from tests.support.eventually import wait_until
from tests.support.servers import wait_for_nats

_STOP_WITHIN_S = 20


class NatsCluster:
    """Servers 0, 1 and 2. `url` names all of them."""

    def __init__(self, folder: Path) -> None:
        self._ports = [free_port() for _ in range(3)]
        routes = [free_port() for _ in range(3)]
        self._servers = [
            self._server(folder / f"nats-{number}", number, port, routes[number], routes)
            for number, port in enumerate(self._ports)
        ]

    def _server(self, folder: Path, number: int, port: int, own: int, routes: list[int]) -> Process:
        folder.mkdir(parents=True)
        others = ", ".join(f'"nats://{HOST}:{route}"' for route in routes if route != own)
        configuration = folder / "nats.conf"
        configuration.write_text(
            f'server_name: "nats-{number}"\ncluster {{ name: "test", listen: "{HOST}:{own}", routes: [{others}] }}\n'
        )
        command = [*nats.command(port, folder / "jetstream"), "-c", str(configuration)]
        return Process(Program(f"nats-{number}", command, stop_signal=signal.SIGINT), folder / "log")

    @property
    def url(self) -> str:
        return ",".join(map(self.url_of, range(3)))

    def url_of(self, number: int) -> str:
        """The address of one server."""
        return f"nats://{HOST}:{self._ports[number]}"

    def start(self) -> None:
        """Returns when all are reachable; JetStream may still elect its leader then."""
        for server in self._servers:
            server.start()
        for port in self._ports:
            wait_for_nats(port)

    def start_again(self, number: int) -> None:
        """Starts one server, which was killed. Returns when it is reachable; it may still catch up then."""
        self._servers[number].start()
        wait_for_nats(self._ports[number])

    def kill9(self, number: int) -> None:
        """Kills one server, without an orderly end."""
        self._servers[number].kill()

    def pause(self, number: int) -> None:
        """Makes this server hang."""
        self._servers[number].send_signal(signal.SIGSTOP)
        process = psutil.Process(self._servers[number].pid)
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "NATS hangs")

    def resume(self, number: int) -> None:
        self._servers[number].send_signal(signal.SIGCONT)

    def close(self) -> None:
        for number, server in enumerate(self._servers):
            if server.is_running:
                self.resume(number)
            server.end(_STOP_WITHIN_S)


async def all_current(link: NatsLink) -> bool:
    """Whether every stream has all its copies, so that another server may die."""
    infos = await link.stream_manager().streams_info()
    clusters = [info.cluster for info in infos]
    return bool(infos) and all(
        each is not None
        and each.leader
        and len(each.replicas or []) == 2
        and all(replica.current and not replica.offline for replica in each.replicas or [])
        for each in clusters
    )
