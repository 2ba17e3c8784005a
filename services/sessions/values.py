"""Values of facts as PostgreSQL can store and index them: texts, names, times and lineages. Pure."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final

from services.sessions.rows import MAX_ID, MAX_LABEL_BYTES, MAX_TEXT, MAX_TIME

_LINEAGES: Final = 32_768
"""Cached lineages: of clients that come back soon, and for a fold after a restart, which needs each several times. The
cache has user ids: it is cleared when a user is erased."""


@lru_cache(_LINEAGES)
def lineage_of(user: str, session_key: str, client_name: str) -> str | None:
    """The lineage of a session, as a digest of fixed size; None for an anonymous client without a session key."""
    if not user and not session_key:
        return None
    together = f"{user}\0{session_key}\0{client_name}"
    if len(together) > MAX_TEXT or together.count("\0") > 2:
        together = "\0".join((identity(user), identity(session_key), identity(client_name)))
    return blake2b(together.encode(), digest_size=16).hexdigest()


def identity(value: str) -> str:
    """Like `text`, but different for different values: a value that `text` would change ends with a digest of the
    whole.

    The result is its own identity.
    """
    if len(value) <= MAX_TEXT and "\0" not in value:
        return value
    digest = blake2b(value.encode(), digest_size=16).hexdigest()
    return text(f"{value[: MAX_TEXT - 1 - len(digest)]}~{digest}")


def text(value: str, limit: int = MAX_TEXT) -> str:
    """`value` as PostgreSQL can store and index it: at most `limit` characters, without NUL."""
    if len(value) <= limit and "\0" not in value:
        return value
    return value[:limit].replace("\0", "\ufffd")


def label(value: str) -> str:
    """`value` so short that an index entry has room for three of them beside a `text`: at most `MAX_LABEL_BYTES`, and
    different for different values."""
    if len(value) <= MAX_LABEL_BYTES // 4 and "\0" not in value:  # the usual case: a character has up to four bytes
        return value
    data = value.encode()
    if len(data) <= MAX_LABEL_BYTES and "\0" not in value:
        return value
    digest = blake2b(data, digest_size=16).hexdigest()
    beginning = value.replace("\0", "\ufffd").encode()[: MAX_LABEL_BYTES - 1 - len(digest)]
    return f"{beginning.decode(errors='ignore')}~{digest}"


def name_of(value: str) -> str:
    """The name of a connection or instance, like `text`, but shorter."""
    if len(value) <= MAX_ID and "\0" not in value:
        return value
    return text(value, MAX_ID)


def after_prefix(prefix: str) -> str:
    """The first text, by code points, after all that begin with `prefix`; "" if there is none."""
    while prefix:
        last = ord(prefix[-1]) + 1
        if last <= 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if 0xD800 <= last <= 0xDFFF else last)
        prefix = prefix[:-1]
    return ""


def time_of(at: int) -> int:
    """The time `at`, within the range that PostgreSQL and Python both support, in Unix milliseconds."""
    return at if 0 <= at <= MAX_TIME else min(max(at, 0), MAX_TIME)


WATCH_WRITER: Final = "watch-"
"""The prefix of the names of writers that report lost edges; the rest of the name is the edge's instance."""

PRIVACY_WRITER: Final = "privacy-"
"""The prefix of the names of writers that report erasures."""

NO_EDGES: Final = (WATCH_WRITER, PRIVACY_WRITER)
