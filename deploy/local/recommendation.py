"""How many edges the metrics service recommends, asked over HTTP."""

from __future__ import annotations

import http.client
from typing import Final, NamedTuple

import msgspec

from deploy.processes.ports import HOST
from deploy.processes.readiness import TIMEOUT_S

PATH: Final = "/capacity"

STALE_AFTER_S: Final = 240.0
"""The answer is about the last full minute. An older one describes a cluster that the service no longer hears."""


class Recommendation(NamedTuple):
    """`edges` to run, None if that is unknown now; then `problem` says why."""

    edges: int | None
    problem: str


class _Answer(msgspec.Struct):
    """The fields of the answer that are read. `at` is the beginning of the minute that it is about, Unix time in
    seconds."""

    problem: str | None = None
    at: int | None = None
    recommended_edges: int | None = None


def ask(port: int, now: float) -> Recommendation:
    """Asks the metrics service on this port of 127.0.0.1. `now` is Unix time in seconds."""
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", PATH)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return Recommendation(None, f"the metrics service does not answer: {error}")
    finally:
        connection.close()
    if answer.status != 200:
        return Recommendation(None, f"the metrics service answers {PATH} with {answer.status}")
    return read(body, now)


def read(body: bytes, now: float) -> Recommendation:
    """The recommendation in an answer of the metrics service."""
    try:
        found = msgspec.json.decode(body, type=_Answer)
    except msgspec.DecodeError as error:
        return Recommendation(None, f"the metrics service's answer cannot be read: {error}")
    if found.recommended_edges is None or found.at is None:
        return Recommendation(
            None, f"the metrics service recommends nothing yet: {found.problem or 'it gave no reason'}"
        )
    if now - found.at > STALE_AFTER_S:
        return Recommendation(None, f"the metrics service has heard no edge for {now - found.at:.0f} s")
    return Recommendation(found.recommended_edges, "")
