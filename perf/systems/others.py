"""How each of the other systems is started: as its documentation says, without parts that are not needed."""

from __future__ import annotations

import re
import shutil
import signal
import sys
from base64 import b64encode
from hashlib import sha1
from pathlib import Path
from string import Template

from deploy.processes import nats as nats_wheel
from deploy.processes.ports import free_port
from deploy.processes.process import Program
from perf.load import frames
from perf.load.dialects.channel_in_path import ChannelInPath
from perf.load.dialects.nats_text import NatsText
from perf.load.dialects.socketio import SocketIo
from perf.load.publish_targets import HttpPost, NatsPublish
from perf.systems import installation
from perf.systems.system import Launch, System, answers

ORIGINAL_WORKERS = 6
SOCKETIO_PROCESSES = 2
BACKLOG = "4096"
"""The backlog of every listener that has such an option: a burst of 5,000 must not be limited by the kernel's default
of 128."""

_TEMPLATES = Path(__file__).with_name("templates")
_HERE = Path(__file__).parent


def channels(folder: Path, cores: int) -> Launch:
    port, redis_port = free_port(), free_port()
    python = str(installation.channels_python())
    uvicorn = ["-m", "uvicorn", "chat:application", "--workers", str(ORIGINAL_WORKERS)]
    options = ["--port", str(port), "--backlog", BACKLOG, "--log-level", "warning"]
    return Launch(
        programs=[
            _redis(redis_port, folder),
            Program(
                "uvicorn", [python, *uvicorn, *options], {"REDIS_PORT": str(redis_port)}, folder=_HERE / "channels"
            ),
        ],
        port=port,
        ready=answers(port),
        dialect=ChannelInPath(),
        publish=HttpPost(port, "/publish/{channel}"),
    )


def socketio(folder: Path, cores: int) -> Launch:
    port, redis_port = free_port(), free_port()
    installed = installation.socketio_folder()
    shutil.copy(_HERE / "socketio" / "server.mjs", installed)  # Node looks for packages beside the script
    environment = {"PORT": str(port), "REDIS_PORT": str(redis_port)}
    command = [installation.node(), str(installed / "server.mjs")]
    servers = [Program(f"node-{number}", command, environment) for number in range(SOCKETIO_PROCESSES)]
    return Launch(
        programs=[_redis(redis_port, folder), *servers],
        port=port,
        ready=answers(port),
        dialect=SocketIo(),
        publish=HttpPost(port, "/publish/{channel}"),
    )


def starlette(folder: Path, cores: int) -> Launch:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "perf.systems.starlette_broadcast:app", "--port", str(port)]
    return Launch(
        programs=[
            Program("uvicorn", [*command, "--backlog", BACKLOG, "--log-level", "warning"], folder=installation.ROOT)
        ],
        port=port,
        ready=answers(port),
        dialect=ChannelInPath(),
        publish=HttpPost(port, "/publish/{channel}"),
    )


def nats(folder: Path, cores: int) -> Launch:
    port, nats_port = free_port(), free_port()
    config = _filled("nats.conf", folder, port=str(port), nats_port=str(nats_port))
    return Launch(
        programs=[Program("nats", [str(nats_wheel.program()), "-c", str(config)])],
        port=port,
        ready=answers(port),
        dialect=NatsText(),
        publish=NatsPublish(nats_port),
    )


def nchan(folder: Path, cores: int) -> Launch:
    port, root = free_port(), installation.debian_root()
    modules = str(root / "usr" / "lib" / "nginx" / "modules")
    config = _filled("nginx.conf", folder, port=str(port), state=str(folder), modules=modules, workers=str(cores))
    command = [str(root / "usr" / "sbin" / "nginx"), "-p", str(folder), "-e", "stderr", "-c", str(config)]
    return Launch(
        programs=[Program("nginx", command, installation.debian_environment(), signal.SIGQUIT)],
        port=port,
        ready=answers(port),
        dialect=ChannelInPath(),
        publish=HttpPost(port, "/publish/{channel}"),
    )


def send_loop(folder: Path, cores: int) -> Launch:
    port = free_port()
    program = installation.compiled(_HERE / "send_loop.c", folder)
    return Launch(
        programs=[Program("send-loop", [str(program), str(port), _accept_value()])],
        port=port,
        ready=answers(port),
        dialect=ChannelInPath(),
        publish=HttpPost(port, "/publish/{channel}"),
    )


def _redis(port: int, folder: Path) -> Program:
    command = [str(installation.debian_root() / "usr" / "bin" / "redis-server"), "--port", str(port)]
    options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    return Program("redis", [*command, *options], installation.debian_environment())


def _filled(name: str, folder: Path, **values: str) -> Path:
    path = folder / name
    path.write_text(Template((_TEMPLATES / name).read_text()).substitute(values))
    return path


def _accept_value() -> str:
    """The handshake answer to the key that all of perf's clients send."""
    request = frames.upgrade_request("", "/")
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
    assert key is not None
    return b64encode(sha1(key.group(1) + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


OTHERS = (
    System(
        "channels",
        "Django Channels, channels_redis",
        "joins a group in Redis; no authentication",
        "at most once, not kept",
        channels,
        ("channels", "debian"),
    ),
    System(
        "socketio",
        "Socket.IO, Redis adapter",
        "joins a room; no authentication",
        "at most once, not kept",
        socketio,
        ("socketio", "debian"),
    ),
    System("starlette", "Starlette on uvicorn", "joins a set; nothing else", "at most once, not kept", starlette),
    System("nats", "NATS WebSocket listener", "subscribes; no authentication", "at most once, not kept", nats),
    System("nchan", "nginx with nchan", "subscribes; no authentication", "at most once, not kept", nchan, ("debian",)),
    System("send-loop", "one send() a frame, in C", "answers the handshake", "sent, nothing else", send_loop, ("cc",)),
)
