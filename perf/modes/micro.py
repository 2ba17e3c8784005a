"""The cost of single steps inside an edge, in process: nanoseconds each, the least of several repeats.

No sockets, no NATS: codecs, the wire, the fan-out to subscribers whose transport does nothing, the rule for live
messages. It shows what a change did to a step; the other modes measure what users see.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable

from msgspec import Raw
from msgspec.structs import replace

from perf import runner
from perf.load import frames
from perf.load.payload import payload
from perf.modes.micro_tracing import publish
from perf.report import tables
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.settings import PerfSettings
from proto.codec import Codec
from proto.codec_json import JSON
from proto.codec_protobuf import PROTOBUF
from proto.messages import ClientInfo, Publication
from proto.publications import LiveMessage
from proto.replies import Push, Reply
from services.chassis.process.settings import Rate
from services.chassis.tracing.span import Attributes
from services.edge.channel_settings import ChannelSection
from services.edge.channels.channel_log import ChannelLog
from services.edge.channels.namespaces import Namespaces
from services.edge.channels.subscribers import Subscribers
from services.edge.channels.subscription import Subscription
from services.edge.client_settings import ClientSection
from services.edge.connection.door import Door
from services.edge.framing import handshake, wire
from services.edge.framing.formats import WEBSOCKET_JSON, WEBSOCKET_PROTOBUF, Format
from services.edge.grants import Grant
from services.edge.limit_settings import LimitsSection
from services.edge.session.allowances import Allowances

Step = Callable[[int], object]
"""Does its step the given number of times."""

START = 1_767_225_600.0
MIN_REPEAT_S = 0.02
SUBSCRIBERS = 1000
PAYLOAD = payload(128, 1, 1)
PUBLICATION = Publication(Raw(PAYLOAD), offset=1)
PUSH = Reply(push=Push(channel="log:micro", pub=PUBLICATION))
COMMANDS = b'{"id":1,"connect":{"token":"%b","name":"js"}}\n{"id":2,"subscribe":{"channel":"log:micro"}}' % (b"x" * 140)


class MicroFigures(Figures):
    """By step."""

    nanoseconds: dict[str, float]

    def table(self) -> str:
        return tables.text([(name, f"{value:10.1f} ns") for name, value in self.nanoseconds.items()])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=7, help="of which the fastest counts (%(default)s)")
    runner.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    figures = await runner.measured(arguments, 120.0, measure, 0)
    return int(figures is None)


async def measure(arguments: argparse.Namespace, shown: Bar) -> MicroFigures:
    shown.phase("stepping")
    each = steps()
    gc.freeze()  # otherwise the collection before each repeat would walk all loaded objects
    return MicroFigures(nanoseconds={name: cost(step, arguments.repeats) for name, step in each.items()})


def cost(step: Step, repeats: int) -> float:
    """Nanoseconds of CPU for one step: the fastest repeat, each long enough for the clock."""
    times = 1
    while _cpu_ns(step, times) < MIN_REPEAT_S * 1e9:
        times *= 4
    return round(min(_cpu_ns(step, times) for _ in range(repeats)) / times, 1)


def _cpu_ns(step: Step, times: int) -> int:
    gc.collect()
    gc.disable()
    try:
        began = time.process_time_ns()
        step(times)
        return time.process_time_ns() - began
    finally:
        gc.enable()


def steps() -> dict[str, Step]:
    return {
        "JSON: decode connect and subscribe": _decode(JSON, COMMANDS),
        "JSON: encode a push": _encode(JSON),
        "Protobuf: encode a push": _encode(PROTOBUF),
        "wire: frame 128 bytes": _frame,
        "wire: feed a masked frame": _feed,
        "wire: parse an upgrade": _upgrade,
        "log: accept and admit a live message": _rule,
        "limits: let a client in": _door,
        "limits: a client's publish": _allowances,
        f"fan-out to {SUBSCRIBERS} in JSON, for each": _fan_out(WEBSOCKET_JSON),
        f"fan-out to {SUBSCRIBERS} in Protobuf, for each": _fan_out(WEBSOCKET_PROTOBUF),
        "publish to one, without tracing": publish(None, _subscribers(WEBSOCKET_JSON, 1), PAYLOAD),
        "publish to one, tracing 1 %": publish(0.01, _subscribers(WEBSOCKET_JSON, 1), PAYLOAD),
        "publish to one, tracing each": publish(1, _subscribers(WEBSOCKET_JSON, 1), PAYLOAD),
    }


def _decode(codec: Codec, frame: bytes) -> Step:
    def step(times: int) -> None:
        for _ in range(times):
            codec.decode_commands(frame, 256)

    return step


def _encode(codec: Codec) -> Step:
    def step(times: int) -> None:
        for _ in range(times):
            codec.encode_reply(PUSH)

    return step


def _frame(times: int) -> None:
    for _ in range(times):
        wire.frame(wire.TEXT, PAYLOAD)


def _feed(times: int) -> None:
    reader, data = wire.Wire(65536), frames.frame(frames.TEXT, PAYLOAD)
    for _ in range(times):
        for _ in reader.feed(data):
            pass


def _upgrade(times: int) -> None:
    head = frames.upgrade_request("127.0.0.1:8000", "/connection/websocket")
    for _ in range(times):
        handshake.accept_response(handshake.parse_upgrade(head), None)


def _rule(times: int) -> None:
    log = ChannelLog()
    log.start("epoch", 0)
    log.end_sync()
    for number in range(1, times + 1):
        if log.accept(LiveMessage(number, number - 1, PUBLICATION)):
            log.admit(number, PUBLICATION)


WIDE = Rate(10**12, 10)
"""So high that nothing is refused."""


def _door(times: int) -> None:
    door = Door(replace(LimitsSection(), connects=WIDE, address_connects=WIDE), 2**20)
    for number in range(times):
        door.knock("192.0.2.1", START + number * 0.001)
        door.enter("192.0.2.1")
        door.leave("192.0.2.1")


def _allowances(times: int) -> None:
    """By connection and by user: commands, publishes and bytes."""
    wide = {field: WIDE for field in LimitsSection.__struct_fields__ if "connect" not in field}
    channel = ChannelSection()
    allowances = Allowances(replace(LimitsSection(), **wide), ClientSection(), channel)
    rules = Namespaces(channel).rules("micro")
    for number in range(times):
        now = START + number * 0.001
        allowances.command("client", "user", now)
        allowances.publish("client", "user", rules, 128, now)


class _Null:
    """A subscriber whose transport takes everything and does nothing; it is its own owner."""

    closed = False

    def __init__(self, format: Format) -> None:
        self.format = format
        self.owner = self

    def push(self, framed: bytes, subscription: Subscription, count: int) -> None:
        return None

    def push_member_events(self, channel: str, framed: bytes, count: int) -> None: ...
    def left_out(self, count: int) -> None: ...
    def close(self, close: object, detail: str = "") -> None: ...
    def labels(self) -> tuple[str, str]:
        return "micro", "other"

    def described(self) -> Attributes:
        return {"fairlead.client": "micro"}

    def end_subscription(self, channel: str, why: object) -> None: ...


def _subscribers(format: Format, number: int) -> Subscribers:
    subscribers = Subscribers("log:micro")
    rules = Namespaces(ChannelSection()).rules("micro")
    for each in range(number):
        subscribers.add(_Null(format), Subscription(rules, Grant(), ClientInfo(user=str(each))))
    return subscribers


def _fan_out(format: Format) -> Step:
    subscribers = _subscribers(format, SUBSCRIBERS)

    def step(times: int) -> None:
        for _ in range(-(-times // SUBSCRIBERS)):
            subscribers.fan_out(PUBLICATION, None)

    return step
