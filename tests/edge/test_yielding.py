from __future__ import annotations

import asyncio

from services.edge.yielding import yielding_every


async def test_every_item_comes_once_and_others_have_their_turns():
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    seen: list[int] = []
    at_item: list[int] = []
    async for item in yielding_every(range(10), steps=3):
        seen.append(item)
        at_item.append(turns)
    task.cancel()
    assert seen == list(range(10))
    assert at_item[0] == at_item[2] < at_item[3] == at_item[5] < at_item[6]
