"""A reload adopts all settings that were read, or none; it names settings that may not change."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from msgspec import Struct

from services.chassis.process.reload import ReloadRefused, Reloads, changed_keys, news
from services.chassis.process.settings import ConfigurationError, Section
from tests.support.eventually import eventually


class House(Section, frozen=True):
    doors: int = 1
    colour: str = "blue"


class Garden(Section, frozen=True):
    trees: int = 3
    flowers: int = 4


class Settings(Struct, frozen=True):
    house: House = House()
    garden: Garden = Garden()


class Process:
    """What a service gives its reloads. `told` are the settings that it was told to adopt."""

    def __init__(self) -> None:
        self.read: Settings | Exception = Settings()
        self.told: list[Settings] = []
        self.refuses: Exception | None = None
        self.clock = 0.0
        self.reads = 0
        self.reloads = Reloads(Settings(), self._read, {"garden", "house.colour"}, self._adopt, lambda: self.clock)

    def _read(self) -> Settings:
        self.reads += 1
        if isinstance(self.read, Exception):
            raise self.read
        return self.read

    async def _adopt(self, settings: Settings) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.told.append(settings)

    async def reload(self, read: Settings | Exception) -> None:
        self.read, reads = read, self.reads
        self.clock += 1
        self.reloads.request()
        await eventually(lambda: self.reads > reads and not self.reloads.in_progress)


@pytest.fixture
def process(caplog: pytest.LogCaptureFixture) -> Process:
    caplog.set_level(logging.INFO)
    return Process()


async def test_what_may_change_is_adopted_and_named(process, caplog):
    settings = Settings(House(colour="red"), Garden(trees=9))
    await process.reload(settings)
    assert process.told == [settings]
    assert "reloaded: house.colour, garden.trees" in caplog.text
    assert (process.reloads.successful, process.reloads.succeeded_at) == (True, 1)


async def test_where_nothing_differs_nothing_is_adopted(process, caplog):
    await process.reload(Settings())
    assert process.told == [] and "reloaded: nothing has changed" in caplog.text
    assert process.reloads.succeeded_at == 1


@pytest.mark.parametrize(
    ("read", "why"),
    [
        (Settings(House(doors=2), Garden(trees=9)), "only a restart changes house.doors"),
        (ConfigurationError("house.toml: is not TOML"), "house.toml: is not TOML"),
        (LookupError("nobody foresaw this"), "reload failed, the settings from before stay"),
    ],
)
async def test_a_refused_reload_adopts_nothing_and_says_why(process, caplog, read, why):
    await process.reload(read)
    assert process.told == [] and why in caplog.text
    assert (process.reloads.successful, process.reloads.succeeded_at) == (False, 0)


async def test_what_the_service_refuses_is_no_base_for_the_next_reload(process, caplog):
    process.refuses = ReloadRefused("the roof leaks")
    wanted = Settings(garden=Garden(trees=9))
    await process.reload(wanted)
    assert "reload refused, the settings from before stay: the roof leaks" in caplog.text
    process.refuses = None
    await process.reload(wanted)
    assert process.told == [wanted] and process.reloads.successful
    await process.reload(Settings())
    assert process.told == [wanted, Settings()], "compared with what runs now"


async def test_a_request_during_a_reload_leads_to_one_more_read(process):
    for _ in range(3):
        process.reloads.request()
    await eventually(lambda: not process.reloads.in_progress)
    assert process.reads == 1
    process.read = Settings(garden=Garden(trees=5))
    process.reloads.request()
    await asyncio.sleep(0)  # it has begun to read
    process.reloads.request()
    await eventually(lambda: not process.reloads.in_progress)
    assert process.reads == 3


async def test_a_disk_that_hangs_refuses_a_reload_and_holds_up_neither_the_next_one_nor_the_end(caplog):
    disk = threading.Event()

    def read() -> Settings:
        disk.wait()
        return Settings()

    reloads = Reloads(Settings(), read, frozenset(), never, read_within_s=0.05)
    for _ in range(2):
        reloads.request()
        await eventually(lambda: not reloads.in_progress)
    assert caplog.text.count("the configuration could not be read within 0.05 s") == 2
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "reload")
    disk.set()


async def never(settings: Settings) -> None:
    raise AssertionError(f"{settings} were adopted")


def test_changed_keys_and_news() -> None:
    assert changed_keys(Settings(), Settings(House(2), Garden(flowers=0))) == ["house.doors", "garden.flowers"]
    assert news(["a", "b"], ["b", "c"]) == ["c"]
