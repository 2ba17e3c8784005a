"""Publishes mutated texts through two edges, and holds their subscribers to what each text promises.

On each edge a JSON and a Protobuf client are subscribed for the whole run, to a channel with history and to one
without: what anybody sends ends none of them, and both edges tell the same. After each batch clients that were away
come back on both edges, to everything that was published meanwhile, and read the history.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import websockets

from proto.commands import HistoryRequest, SubscribeRequest, UnsubscribeRequest
from proto.messages import StreamPosition
from tests.mutations.client import Answer, Client, Seen, canonical, client
from tests.mutations.commands import mutated_frames
from tests.mutations.texts import Kind, kind_of, mutated_texts, parse

KEPT: Final = "kept:mutated"
PASSING: Final = "passing:mutated"
ELSEWHERE: Final = "passing:elsewhere"
"""For JSON clients whose text may be anything once it is in a frame."""

_LIMITS: tuple[str, ...] = (
    "connects",
    "address_connects",
    "commands",
    "user_commands",
    "publishes",
    "user_publishes",
    "published_bytes",
)
_LIMITS += ("user_published_bytes", "subscribes", "user_subscribes")
TOML: Final = (
    "[limits]\n"
    + "".join(f'{name} = "0"\n' for name in _LIMITS)
    + """
[channel]
history_partitions = 2
[[channel.namespaces]]
name = "kept"
history_size = 5000
history_ttl = "1h"
force_recovery = true
allow_subscribe_for_client = true
allow_publish_for_client = true
allow_history_for_client = true
allow_tags_filter = true
allowed_delta_types = ["fossil"]
[[channel.namespaces]]
name = "passing"
allow_subscribe_for_client = true
allow_publish_for_client = true
"""
)
"""What the edges are configured with. Limits are off: all texts come from a few clients."""

BATCH: Final = 400
REFUSED: Final = 10
"""Texts of each batch that are not JSON and that a JSON client sends all the same."""
PATIENCE_S: Final = 60.0
BAD_REQUEST: Final = 107
BAD_FRAME: Final = -3501


@dataclass
class Report:
    """What was sent, and what became of it."""

    texts: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    deliveries: int = 0

    def __str__(self) -> str:
        texts, frames = (
            ", ".join(f"{n:,} {what}" for what, n in sorted(of.items())) for of in (self.texts, self.frames)
        )
        return f"texts: {texts}\nProtobuf frames: {frames}\ndeliveries that were compared: {self.deliveries:,}"


class Storm:
    """`edges` are the WebSocket addresses of two edges of one cluster with the namespaces of `TOML`."""

    def __init__(self, edges: tuple[str, str], token: str) -> None:
        self._edges = edges
        self._token = token
        self._stack = AsyncExitStack()
        self._text_readers: list[Client] = []
        self._byte_readers: list[Client] = []
        self._writers: list[Client] = []
        self.report = Report()

    async def __aenter__(self) -> Storm:
        for edge in self._edges:
            self._text_readers.append(await self._client(edge, is_protobuf=False))
            self._byte_readers.append(await self._client(edge, is_protobuf=True))
            self._writers += [await self._client(edge, is_protobuf) for is_protobuf in (True, False)]
        for reader in self._readers:
            for channel in (KEPT, PASSING):
                assert not (await reader.ask(subscribe=SubscribeRequest(channel))).error
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def _client(self, edge: str, is_protobuf: bool) -> Client:
        return await self._stack.enter_async_context(client(edge, self._token, is_protobuf))

    @property
    def _readers(self) -> list[Client]:
        return self._text_readers + self._byte_readers

    # --- texts -------------------------------------------------------------------------------------------------------

    async def texts(self, count: int, seed: int) -> None:
        """Publishes so many texts. Raises AssertionError, which names the text, or what the readers saw."""
        left = mutated_texts(count, seed)
        number = 0
        while texts := list(islice(left, BATCH)):
            await self._batch(texts, PASSING if number % 4 == 3 else KEPT, number % 2)
            number += 1

    async def _batch(self, texts: list[bytes], channel: str, turn: int) -> None:
        """Publishes texts in Protobuf on one edge, and those that JSON can carry in JSON on the other one."""
        start = await self._position()
        kinds = [kind_of(text) for text in texts]
        self.report.texts.update(kind.value for kind in kinds)
        in_bytes, in_text = self._writers[2 * turn], self._writers[3 - 2 * turn]
        sent: list[bytes] = []
        for text, kind, code in zip(texts, kinds, await in_bytes.publish(channel, texts), strict=True):
            assert code in _allowed(kind), f"{text!r}, which is {kind.value}, was answered with {code} in Protobuf"
            if not code:
                sent.append(text)
        for_json = [(text, kind) for text, kind in zip(texts, kinds, strict=True) if _fits_into_a_frame(text, kind)]
        codes = await in_text.publish(channel, [text for text, _ in for_json])
        for (text, kind), code in zip(for_json, codes, strict=True):
            expected = 0 if kind is Kind.GOOD else BAD_REQUEST
            assert code == expected, f"{text!r}, which is {kind.value}, was answered with {code} in JSON"
            if not code:
                sent.append(text.strip(b" \t\r"))
        wrong = [text for text, kind in zip(texts, kinds, strict=True) if kind is Kind.NOT_JSON and b"\n" not in text]
        for text in wrong[:REFUSED]:
            await self._refused(text, turn)
        await self._compare(channel, sent)
        if channel == KEPT:
            await self._come_back(start)
        for reader in self._readers:
            reader.publications.clear()

    async def _refused(self, text: bytes, turn: int) -> None:
        """A text that is not JSON, within the command of a JSON client. The whole may be JSON again."""
        async with client(self._edges[turn], self._token, is_protobuf=False) as writer:
            (code,) = await writer.publish(ELSEWHERE, [text])
            assert code in (BAD_FRAME, BAD_REQUEST, 0), f"{text!r} was answered with {code} in JSON"
            self.report.texts["sent in a JSON frame nevertheless"] += 1

    async def _compare(self, channel: str, sent: list[bytes]) -> None:
        """Every reader has what was sent, but for what its encoding cannot carry."""
        as_values = Counter(canonical(parse(text.decode())) for text in sent if kind_of(text) is Kind.GOOD)
        as_bytes = Counter(sent)
        for readers, expected in ((self._text_readers, as_values), (self._byte_readers, as_bytes)):
            for reader in readers:
                await reader.until(channel, expected.total(), PATIENCE_S)
                self._check_alive()
                seen = Counter(each.data for each in reader.publications[channel])
                assert seen == expected, f"lost: {list(expected - seen)[:3]}, made up: {list(seen - expected)[:3]}"
                self.report.deliveries += seen.total()
            if channel == KEPT:
                one, other = (reader.publications[channel] for reader in readers)
                assert one == other, "two edges tell different things"

    def _check_alive(self) -> None:
        for reader in self._readers:
            assert not reader.closed and not reader.unsubscribed, f"a subscriber was ended with {reader.closed}"

    async def _position(self) -> StreamPosition:
        answer = await self._writers[0].ask(history=HistoryRequest(KEPT))
        return StreamPosition(answer.offset, answer.epoch)

    async def _come_back(self, since: StreamPosition) -> None:
        """Clients that were away recover what the others have seen, on both edges and in both encodings."""
        for is_protobuf, reader in ((False, self._text_readers[0]), (True, self._byte_readers[0])):
            expected = reader.publications[KEPT]
            for edge in self._edges:
                async with client(edge, self._token, is_protobuf) as late:
                    request = SubscribeRequest(KEPT, recover=True, offset=since.offset, epoch=since.epoch)
                    answer = await late.ask(subscribe=request)
                    await late.until(KEPT, len(expected) - len(answer.publications), PATIENCE_S)
                    assert answer.publications + late.publications[KEPT] == expected, "a recovery tells something else"
                    page = await late.ask(history=HistoryRequest(KEPT, 100, since))
                    assert _is_part(page, expected), "a history tells something else"
                    assert not late.closed and not late.unsubscribed
                    self.report.deliveries += len(expected)

    # --- commands ----------------------------------------------------------------------------------------------------

    async def commands(self, count: int, seed: int) -> None:
        """Sends so many mutated Protobuf frames, in turns to both edges. Raises AssertionError."""
        frames = mutated_frames(count, KEPT, seed)
        turn = 0
        while part := list(islice(frames, BATCH)):
            start = await self._position()
            for frame in part:
                turn = 1 - turn
                await self._frame(frame, turn)
            await self._settle()
            await self._come_back(start)
            for reader in self._readers:
                reader.publications.clear()

    async def _frame(self, frame: bytes, turn: int) -> None:
        async with client(self._edges[turn], self._token, is_protobuf=True) as writer:
            try:
                await writer.send(frame)
                answer = await writer.ask(unsubscribe=UnsubscribeRequest(ELSEWHERE))
            except websockets.ConnectionClosed:
                answer = Answer(-writer.closed, [])
            assert answer.error not in (-1006, -1011, -3004), f"{frame!r} ended with {answer.error}"
            self.report.frames["closed" if answer.error < 0 else "answered"] += 1

    async def _settle(self) -> None:
        """Until everybody has what the frames have published, whatever that was."""
        assert await self._writers[0].publish(KEPT, [b'"the end"']) == [0]
        position = await self._position()
        for readers, data in ((self._text_readers, canonical("the end")), (self._byte_readers, b'"the end"')):
            for reader in readers:
                while Seen(position.offset, data) not in reader.publications[KEPT][-1:]:
                    await reader.until(KEPT, len(reader.publications[KEPT]) + 1, PATIENCE_S)
                    self._check_alive()
            one, other = (reader.publications[KEPT] for reader in readers)
            assert one == other, "two edges tell different things"
            self.report.deliveries += 2 * len(one)


def _allowed(kind: Kind) -> tuple[int, ...]:
    if kind is Kind.NOT_JSON_AND_DEEP:
        return (0, BAD_REQUEST)
    return (BAD_REQUEST,) if kind is Kind.TOO_DEEP else (0,)


def _fits_into_a_frame(text: bytes, kind: Kind) -> bool:
    return kind in (Kind.GOOD, Kind.TOO_DEEP) and b"\n" not in text and text.strip() != b"null"


def _is_part(page: Answer, whole: list[Seen]) -> bool:
    return not page.error and page.publications == whole[: len(page.publications)]
