"""Everything that is stored about a user, as JSON lines: each names its origin in `store`. However much there is, only
the lines that are being written are in memory."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

import msgspec
from msgspec import Raw

from proto import subjects
from proto.publications import BadPublication, decode_publication, published_at
from services.chassis.nats.link import NatsLink
from services.chassis.nats.stream_reads import StoredMessage
from services.chassis.postgres.pool import Pool
from services.sessions.privacy.archive_postgres import Archive
from services.sessions.privacy.exported_postgres import ExportedRows
from services.sessions.privacy.keys_nats import Keys
from services.sessions.privacy.log_nats import LogOfPerson
from services.sessions.privacy.person import Person
from services.sessions.privacy.progress import Progress
from services.sessions.privacy.publications_nats import Publications
from services.sessions.privacy.rewriting import Connections
from services.sessions.privacy.tables_postgres import KEPT, WEBHOOK_STATES, Tables

_encode: Final = msgspec.json.Encoder().encode


class Export:
    """The export of one user. Every method raises `StoreAway`, `NatsAway`, `NatsRefused`."""

    def __init__(self, link: NatsLink, pool: Pool, person: Person, progress: Progress) -> None:
        self._person = person
        self._rows = ExportedRows(pool, person)
        self._tables = Tables(pool, person)
        self._archive = Archive(pool, progress)
        self._log = LogOfPerson(link, self._archive, progress)
        self._publications = Publications(link, person, progress)
        self._keys = Keys(link, person, progress)
        self.found = 0
        """The lines with data about the user: all except the first, which names the user, and the last."""

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The lines, each with its line break. The first one names the user. The last one says how many came before it,
        and how many of these have data about the user: if it is missing, so are others."""
        yield _line("user", id=self._person.user, digest=self._person.digest)
        async for line in self._lines():
            yield line
            self.found += 1
        yield _line("end", lines=self.found + 1, found=self.found)

    async def _lines(self) -> AsyncIterator[bytes]:
        async for store, row in self._rows.all():
            yield _line(store, row=Raw(row.encode()))
        about = await self._tables.connections()
        async for archived in self._archive.messages():
            if facts := about.facts_in(archived.data):
                epoch, sequence = archived.place
                yield _line("log archive", epoch=epoch, sequence=sequence, facts=facts)
        async for message in self._log.messages():
            if facts := about.facts_in(message.data):
                yield _line("log", sequence=message.sequence, facts=facts)
        async for line in self._kept(about):
            yield line
        for stream in await self._publications.streams():
            async for message in self._publications.of_the_user(stream):
                yield _line("publications", **_publication(message))
        async for key in self._keys.of_the_user():
            yield _line("idempotency keys", sequence=key.sequence, key=key.data.decode(errors="replace"))

    async def _kept(self, about: Connections) -> AsyncIterator[bytes]:
        for kept in KEPT:
            async for row in self._tables.rows(kept):
                if not self._tables.is_about_the_user(kept, row, about):
                    continue
                facts = [Raw(row.data)] if kept is WEBHOOK_STATES else about.facts_in(row.data)
                more = {} if facts else {"text": row.data.decode(errors="backslashreplace")}  # it is not JSON of ours
                yield _line(kept.store, key=row.key, reason=row.reason, facts=facts, **more)


def _publication(message: StoredMessage) -> dict[str, Any]:
    subject = message.subject.decode(errors="replace")
    told = {"channel": subjects.channel_of(subject), "offset": message.sequence, "at": published_at(message.headers)}
    try:
        publication = decode_publication(message.headers, message.data, message.sequence)
    except BadPublication:  # an entry of an index, or a mark
        return told
    data = bytes(publication.data)
    try:
        msgspec.json.decode(data)
        told["data"] = Raw(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told["b64data"] = base64.b64encode(data).decode()
    if publication.info is not None:
        told["info"] = publication.info
    if publication.tags:
        told["tags"] = publication.tags
    return told


def _line(store: str, **fields: Any) -> bytes:
    return bytes(_encode({"store": store, **fields})) + b"\n"
