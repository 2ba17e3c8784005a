"""Archive and stream as one log: each message once, the archived one if both have it, none beyond the end."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from proto.events import EventBatch, Opened, encode_batch
from services.sessions.entries import Entry
from services.sessions.log_archive_postgres import ArchivedMessage
from services.sessions.log_nats import LogNewer, LogPage
from services.sessions.rebuilding import log_reading
from services.sessions.rebuilding.log_reading import LetterWaits, LogReading


def data(user: str) -> bytes:
    return encode_batch(EventBatch("edge", "i", 1, [Opened(at=1, connection="c", user=user)]))


class Archive:
    def __init__(self, *sequences: int) -> None:
        self.sequences = sequences
        self.data = data("of the archive")

    async def page(self, epoch: str, first: int, last: int, limit: int) -> list[ArchivedMessage]:
        assert epoch == "e"
        found = [one for one in self.sequences if first <= one <= last][:limit]
        return [ArchivedMessage(one, 5, "i", self.data) for one in found]


class Stream:
    def __init__(self, *sequences: int) -> None:
        self.sequences = sequences

    async def read(self, start: int) -> LogPage:
        found = [one for one in self.sequences if one >= start]
        entries = [
            Entry(
                one,
                data("of the stream"),
                "i",
                EventBatch("e", "i", 1, [Opened(at=1, connection="c", user="s")]),
                stored_at=9,
            )
            for one in found[:4]
        ]
        return LogPage(entries, entries[-1].sequence if entries else start - 1, len(found) > 4)


def user_of(batch: EventBatch) -> str:
    (event,) = batch.events
    assert isinstance(event, Opened)
    return event.user


async def everything(reading: LogReading, upto: int) -> dict[int, str]:
    found: dict[int, str] = {}
    start, more = 1, True
    while more:
        page = await reading.read(start)
        assert page.upto >= start and (page.upto < upto) == page.more
        for entry in page.entries:
            assert start <= entry.sequence <= page.upto and entry.sequence not in found
            found[entry.sequence] = "set aside" if entry.batch is None else user_of(entry.batch)
        start, more = page.upto + 1, page.more
    return found


NOTHING: Mapping[int, int] = {}


@pytest.mark.parametrize("page", [1, 3, 256])
@pytest.mark.parametrize(
    ("archived", "streamed", "upto", "from_archive"),
    [
        (range(1, 9), range(6, 15), 12, set(range(1, 9))),
        (range(0), range(3, 15), 12, set[int]()),
        (range(1, 13), None, 12, set(range(1, 13))),
        ([2, 9], [1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13], 12, {2, 9}),
        ([1, 2, 3], [7, 8, 11], 11, {1, 2, 3}),
        ([1, 2, 5], None, 12, {1, 2, 5}),
        ([1, 2], [], 12, {1, 2}),
    ],
)
async def test_each_message_is_read_once(
    monkeypatch: pytest.MonkeyPatch, page: int, archived, streamed, upto: int, from_archive: set[int]
):
    monkeypatch.setattr(log_reading, "PAGE", page)
    stream = None if streamed is None else Stream(*streamed)
    found = await everything(LogReading(Archive(*archived), stream, "e", upto, NOTHING), upto)
    assert set(found) == {*archived, *(streamed or ())} - {13, 14}
    assert {sequence for sequence, user in found.items() if user == "of the archive"} == from_archive


async def test_a_message_that_was_put_aside_as_a_whole_has_no_facts():
    archive = Archive(1, 2, 3)
    found = await everything(LogReading(archive, None, "e", 3, {2: len(archive.data)}), 3)
    assert found == {1: "of the archive", 2: "set aside", 3: "of the archive"}


async def test_a_letter_with_a_part_of_a_message_waits_only_as_long_as_it_cannot_be_read():
    archive = Archive(1)
    with pytest.raises(LetterWaits, match=r"message 1 .* first give .* replay all"):
        await LogReading(archive, None, "e", 1, {1: 0}).read(1)
    archive.data = archive.data.replace(b'"events":[', b'"events":[{"type":"teleported"},')
    found = await everything(LogReading(archive, None, "e", 1, {1: 0}), 1)
    assert found == {1: "of the archive"}, "of which the unknown fact is left out on both sides"


async def test_a_newer_message_of_the_archive_is_not_skipped():
    archive = Archive(1)
    archive.data = data("x").replace(b'"version":1', b'"version":2')
    with pytest.raises(LogNewer, match="upgrade this service"):
        await LogReading(archive, None, "e", 1, NOTHING).read(1)


async def test_a_message_that_an_erasure_rewrites_meanwhile_is_in_one_of_the_two():
    archive, stream = Archive(1, 3), Stream(1, 2, 3)
    page, read = archive.page, stream.read

    def rewrites() -> None:
        """Into the archive first, and then out of the stream."""
        archive.sequences, stream.sequences = (1, 2, 3), (1, 3)

    async def page_and_then(epoch: str, first: int, last: int, limit: int) -> list[ArchivedMessage]:
        found = await page(epoch, first, last, limit)
        rewrites()
        return found

    async def read_and_then(start: int) -> LogPage:
        found = await read(start)
        rewrites()
        return found

    archive.page, stream.read = page_and_then, read_and_then  # type: ignore[method-assign]  # between the two reads
    found = await everything(LogReading(archive, stream, "e", 3, NOTHING), 3)
    assert found == dict.fromkeys((1, 2, 3), "of the archive")
