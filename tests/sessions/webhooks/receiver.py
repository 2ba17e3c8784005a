"""A receiver of webhooks, as a backend has one: in this process, or as one of its own that can be killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from deploy.processes.ports import free_port
from proto.signature import HEADER, is_signed
from tests.support.eventually import wait_until

SECRET = "a-webhook-secret-of-the-tests"
ROOT = Path(__file__).resolve().parents[3]

Event = dict[str, Any]


def toml(url: str, name: str = "app", **more: object) -> str:
    """A webhook's table in the configuration of the service."""
    keys = {"name": name, "url": url, "secret": SECRET} | more
    return "[[sessions.webhooks]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


class Receiver:
    """Takes events, and answers each request with what `answer` says of its events: a status. A context manager."""

    def __init__(self, answer: Callable[[list[Event]], int] = lambda events: 204) -> None:
        self.answer = answer
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.events: list[Event] = []
        """Those that it has taken."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((dict(self.headers.items()), body))
                events = json.loads(body)["events"]
                status = receiver.answer(events)
                if status < 300:
                    receiver.events.extend(events)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/events"

    def __enter__(self) -> Receiver:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, connection: str) -> list[str]:
        """The types of events of a connection, in the order in which they were taken, without repetitions."""
        first = {event["id"]: event for event in self.events if event.get("connection") == connection}
        return [event["type"] for event in first.values()]


class ReceiverProcess:
    """A receiver that writes what it takes into a file, before it answers. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "received.jsonl"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}/events"

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.sessions.webhooks.receiver", str(self._port), str(self._file)]
        self._process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})

    def kill9(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> ReceiverProcess:
        self.start()
        wait_until(self._is_open, "the receiver listens")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill9()

    def has_more_than(self, count: int) -> bool:
        """Whether more events have come."""
        return len(self.received()) > count

    def _is_open(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True

    def received(self) -> list[Event]:
        """Every event that has come, with repetitions."""
        whole = self._file.read_bytes() if self._file.exists() else b""
        return [json.loads(line) for line in whole.split(b"\n")[:-1]]


def _serve(port: int, file: str) -> None:
    out = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            good = is_signed([SECRET], self.headers.get(HEADER, ""), body, time.time())
            if good:
                os.write(out, b"".join(json.dumps(one).encode() + b"\n" for one in json.loads(body)["events"]))
            self.send_response(204 if good else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2])
