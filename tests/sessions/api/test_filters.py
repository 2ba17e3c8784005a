"""Filters alone and together find what a look at every session finds, also at a moment of the past."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from services.sessions.api.filters import Filters, narrower
from tests.sessions.api.serving import asking
from tests.support.servers import Postgres

HOUR = 3600
T0 = 1_700_000_000
NOW_AWAY = 4_000_000_000
COUNT = 300


def when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def stories() -> list[dict[str, Any]]:
    """Sessions of every kind: short and of several days, open, away and over, some with two connections and a gap, the
    first of them on another edge."""
    chance = random.Random(14)
    made = []
    for number in range(COUNT):
        opened = T0 + chance.randint(0, 10 * 24) * HOUR + chance.randint(0, 3599)
        lasted = chance.choice([10, 600, HOUR, HOUR + 1, 5 * HOUR, 24 * HOUR, 24 * HOUR + 1, 70 * HOUR, None])
        state = "open" if lasted is None else chance.choice(["ended", "ended", "away"])
        end = None if lasted is None else opened + lasted
        gap = (opened + lasted // 3, opened + lasted // 2) if lasted and chance.random() < 0.4 else None
        channels = [(name, opened + 1) for name in chance.sample(["news", "chat", "rare"], chance.randint(0, 2))]
        made.append({
            "id": f"s{number:03}", "user": chance.choice(["ann", "bob", ""]),
            "edge": chance.choice(["edge-1", "edge-2"]), "edge_before": chance.choice(["edge-1", "edge-2"]),
            "client_name": chance.choice(["web", "phone"]), "client_version": chance.choice(["1.0", "1.1"]),
            "opened": opened, "end": end, "gap": gap, "state": state, "channels": channels,
            "end_code": None if end is None else chance.choice([1000, 1006]),
            "address": chance.choice(["10.1.2.3", "10.12.0.1", "10.1.9.9", "192.168.0.7", ""]),
        })  # fmt: skip
    return made


STORIES = stories()


async def insert(database: asyncpg.Connection[asyncpg.Record], one: dict[str, Any]) -> None:
    opened, end, gap = one["opened"], one["end"], one["gap"]
    spans = [(opened, end)] if gap is None else [(opened, gap[0]), (gap[1], end)]
    away = when(NOW_AWAY) if one["state"] == "away" else when(end) if end else None
    await database.execute(
        "INSERT INTO sessions VALUES ($1, $2, '', $3, $4, $5, 'i', $1, $6, $7, null, $8, $9, $10, '', '', $11)",
        *(one["id"], one["user"], one["client_name"], one["client_version"], one["edge"], len(spans), when(opened)),
        *(when(end) if end else None, away, one["end_code"], one["address"]),
    )
    for number, (first, last) in enumerate(spans):
        name = one["id"] if number == 0 else f"{one['id']}-{number}"
        closed = when(last) if last else None
        edge = one["edge"] if number == len(spans) - 1 else one["edge_before"]
        await database.execute(
            "INSERT INTO connections VALUES ($1, $2, $3, 'i', $4, $5, $6, '', '', $7, '')",
            *(name, one["id"], edge, when(first), closed, one["end_code"], one["client_version"]),
        )
        for channel, since in one["channels"]:
            begun = since if number == 0 else first
            await database.execute(
                "INSERT INTO subscriptions VALUES ($1, $2, $3, $4, null, null)", name, channel, when(first), when(begun)
            )


def is_there(one: dict[str, Any], at: float, channel: str | None, edge: str | None) -> bool:
    opened, end, gap = one["opened"], one["end"], one["gap"]
    spans = [(opened, end)] if gap is None else [(opened, gap[0]), (gap[1], end)]
    for number, (first, last) in enumerate(spans):
        begun = first if channel is None or number else first + 1
        if first <= at and begun <= at and (last is None or last > at):
            on = one["edge"] if number == len(spans) - 1 else one["edge_before"]
            return edge in (None, on) and (channel is None or channel in dict(one["channels"]))
    return False


def fits(one: dict[str, Any], **asked: Any) -> bool:
    """What the filters mean, said once more."""
    checks = {
        "from": lambda v: one["opened"] >= v,
        "to": lambda v: one["opened"] < v,
        "at": lambda v: is_there(one, v, asked.get("channel"), asked.get("edge")),
        "edge": lambda v: "at" in asked or one["edge"] == v,
        "channel": lambda v: v in dict(one["channels"]),
        "address": lambda v: one["address"].startswith(v),
    }
    return all(checks[name](value) if name in checks else one[name] == value for name, value in asked.items())


CHOICES: dict[str, list[Any]] = {
    "from": [T0 + 3 * 24 * HOUR],
    "to": [T0 + 6 * 24 * HOUR + 17],
    "at": [T0 + 5 * 24 * HOUR, T0 + 5 * 24 * HOUR + 1800],
    "user": ["ann", ""],
    "channel": ["news", "none"],
    "edge": ["edge-1"],
    "end_code": [1006],
    "client_name": ["web"],
    "client_version": ["1.1"],
    "address": ["10.1.", "10.1"],
    "state": ["open", "away", "ended"],
}


def combinations() -> list[dict[str, Any]]:
    """Every filter alone, every pair, and some of more."""
    chance = random.Random(4)
    picked = [*itertools.combinations(CHOICES, 1), *itertools.combinations(CHOICES, 2)]
    picked += [tuple(chance.sample(sorted(CHOICES), chance.randint(3, 5))) for _ in range(60)]
    return [
        dict(zip(names, values, strict=True))
        for names in picked
        for values in itertools.product(*(CHOICES[n] for n in names))
    ]


@pytest.mark.integration
async def test_every_combination_finds_what_a_look_at_every_session_finds(postgres: Postgres) -> None:
    database = await asyncpg.connect(postgres.url)
    for one in STORIES:
        await insert(database, one)
    await database.close()
    found_any = 0
    async with asking(postgres.url) as http:
        for asked in combinations():
            sent = {n: when(v).isoformat() if n in ("from", "to", "at") else v for n, v in asked.items()}
            answer = await http.get("/sessions", params={**sent, "limit": 1000})
            assert answer.status_code == 200, (asked, answer.text)
            expected = [one for one in STORIES if fits(one, **asked)]
            expected.sort(key=lambda one: (one["opened"], one["id"]), reverse=True)
            assert [one["id"] for one in answer.json()["sessions"]] == [one["id"] for one in expected], asked
            found_any += bool(expected)
    assert found_any > 200, "the story has something for most of them"


def test_who_asks_for_too_much_is_told_the_next_filter_to_add() -> None:
    assert "`from`" in narrower(Filters(edge="edge-1"))
    assert narrower(Filters(since=when(0))).startswith("add `user`")
    assert "user" not in narrower(Filters(since=when(0), user="ann"))
    assert narrower(Filters(at=when(0))) == "add `from` (and `to`), or `user`", "there is no period to be shortened"
    assert narrower(Filters(user="")) == "add `from` (and `to`)"
