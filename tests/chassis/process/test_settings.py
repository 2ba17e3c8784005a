"""A file and variables become settings, or an error that names the key and the expected value."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from services.chassis.nats.settings import NatsSettings
from services.chassis.process.settings import (
    ConfigurationError,
    Duration,
    LogSettings,
    Port,
    ProcessSettings,
    Section,
    load,
)

SECTIONS = {"nats", "log", "edge", "postgres", "sessions", "metrics"}
"""Those of all services; the schemas below read some of them."""


class Room(Section, frozen=True, kw_only=True):
    name: str
    seats: int = 4


class EdgeSection(Section, frozen=True):
    host: str = "127.0.0.1"
    port: Port = 8101
    delay: Duration = Duration(1)
    loud: bool = False
    names: list[str] = []  # noqa: RUF012 - msgspec copies mutable defaults
    rooms: list[Room] = []  # noqa: RUF012
    lobby: Room | None = None

    def __post_init__(self) -> None:
        if self.delay > 100:
            raise ValueError("expected edge.delay of at most 100 s")


class PostgresSection(Section, frozen=True, kw_only=True):
    url: str


class Mine(Struct, frozen=True, forbid_unknown_fields=True):
    nats: NatsSettings = NatsSettings()
    log: LogSettings = LogSettings()
    edge: EdgeSection = EdgeSection()


class WithSecret(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    postgres: PostgresSection


def read(tmp_path: Path, text: str, schema: type[Any] = Mine, /, **variables: str) -> Any:
    file = tmp_path / "house.toml"
    file.write_text(text, encoding="utf-8")
    return load(schema, {"FAIRLEAD_CONFIG": str(file), "PATH": "/bin", **variables}, SECTIONS)


def refusal(tmp_path: Path, text: str, schema: type[Any] = Mine, /, **variables: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, text, schema, **variables)
    return str(refused.value).replace(str(tmp_path), "")


def test_without_a_file_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(Mine, {}, SECTIONS) == Mine()


def test_the_file_in_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fairlead.toml").write_text("[edge]\nport = 1", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load(Mine, {}, SECTIONS).edge.port == 1


def test_the_file_is_read(tmp_path: Path) -> None:
    text = """
        [nats]
        url = "nats://a:1"
        [edge]
        port = 9
        delay = "1m30s"
        names = ["x", "y"]
        [[edge.rooms]]
        name = "blue"
    """
    mine = read(tmp_path, text)
    assert (mine.nats.url, mine.edge.port, mine.edge.delay, mine.edge.names) == ("nats://a:1", 9, 90.0, ["x", "y"])
    assert mine.edge.rooms == [Room(name="blue")]


def test_variables_win(tmp_path: Path) -> None:
    variables = {
        "FAIRLEAD_EDGE_PORT": "7",
        "FAIRLEAD_EDGE_DELAY": "250ms",
        "FAIRLEAD_EDGE_LOUD": "true",
        "FAIRLEAD_EDGE_NAMES": "a, b,,c",
        "FAIRLEAD_LOG_LEVEL": "debug",
    }
    mine = read(tmp_path, '[edge]\nport = 9\nhost = "h"', **variables)
    assert mine.edge == EdgeSection(host="h", port=7, delay=Duration(0.25), loud=True, names=["a", "b", "c"])
    assert mine.log.level == "debug"


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("false", False), ("0", False)])
def test_switches_as_variables(tmp_path: Path, text: str, value: bool) -> None:
    assert read(tmp_path, "", FAIRLEAD_EDGE_LOUD=text).edge.loud is value


def test_text_that_looks_like_a_number_stays_text(tmp_path: Path) -> None:
    assert read(tmp_path, "", FAIRLEAD_EDGE_HOST="0042").edge.host == "0042"


def test_variables_of_other_services_are_ignored(tmp_path: Path) -> None:
    text = '[postgres]\nanything = "goes"\n[sessions]\nport = "x"'
    assert read(tmp_path, text, FAIRLEAD_POSTGRES_URL="p", FAIRLEAD_METRICS_TYPO="x") == Mine()


class TestMistakesInTheFile:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[edgy]", "/house.toml: unknown section [edgy]; did you mean edge?"),
            ("port = 1", "/house.toml: unknown section [port]"),
            ("[edge]\nprot = 1", "/house.toml: unknown key edge.prot; did you mean port?"),
            ("[edge]\nzzz = 1", "/house.toml: unknown key edge.zzz"),
            ("[edge]\nport = '1'", "/house.toml: edge.port: expected a whole number, got text: leave out the quotes"),
            ("[edge]\nport = true", "/house.toml: edge.port: expected a whole number, got true or false"),
            ("[edge]\nport = 70000", "/house.toml: edge.port: expected a whole number of at most 65535, got 70000"),
            ("[edge]\nhost = 1", "/house.toml: edge.host: expected text, got a whole number"),
            ("[edge]\nloud = 'yes'", "/house.toml: edge.loud: expected true or false, got text"),
            ("[edge]\nnames = 'a'", "/house.toml: edge.names: expected a list, got text"),
            ("[edge]\nnames = [1]", "/house.toml: edge.names[0]: expected text, got a whole number"),
            ("edge = 1", "/house.toml: edge: expected a table, got a whole number"),
            (
                "[[edge.rooms]]\nname = 'x'\nseat = 1",
                '/house.toml: unknown key edge.rooms[0] ("x").seat; did you mean seats?',
            ),
            ("[[edge.rooms]]\nseats = 1", "/house.toml: edge.rooms[0].name is missing"),
            ("[[edge.rooms]]\nname = 'x'\n[[edge.rooms]]\nname = 1", "/house.toml: edge.rooms[1].name: expected text"),
            ("[edge.lobby]\nnam = 'x'", "/house.toml: unknown key edge.lobby.nam; did you mean name?"),
            ("[edge]\ndelay = 101", "/house.toml: edge: expected edge.delay of at most 100 s"),
            ("[edge]\ndelay = '5 minutes'", '/house.toml: edge.delay: expected a duration such as 300, "300s" or "5m"'),
            ("[edge]\ndelay = inf", "/house.toml: edge.delay: expected a duration"),
            ("[log]\nlevel = 'loud'", '/house.toml: log: expected log.level "debug", "info", "warning" or "error"'),
            ("[edge", "/house.toml: is not TOML: "),
            ("[edge]\nport = 1\nport = 2", "/house.toml: is not TOML: "),
        ],
    )
    def test_the_key_and_what_was_expected(self, tmp_path: Path, text: str, said: str) -> None:
        assert refusal(tmp_path, text).startswith(said)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"none\.toml: there is no such file .*FAIRLEAD_CONFIG names it"):
            load(Mine, {"FAIRLEAD_CONFIG": str(tmp_path / "none.toml")}, SECTIONS)

    def test_a_file_that_is_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigurationError, match=r"x\.toml: is not TOML"):
            load(Mine, {"FAIRLEAD_CONFIG": str(tmp_path / "x.toml")}, SECTIONS)

    def test_a_secret_that_is_missing(self, tmp_path: Path) -> None:
        wanted = "/house.toml: postgres.url is missing; set it there or as FAIRLEAD_POSTGRES_URL"
        assert refusal(tmp_path, "[postgres]", WithSecret) == wanted
        assert refusal(tmp_path, "", WithSecret) == wanted
        assert read(tmp_path, "", WithSecret, FAIRLEAD_POSTGRES_URL="p").postgres.url == "p"


class TestMistakesInVariables:
    @pytest.mark.parametrize(
        ("variable", "text", "said"),
        [
            (
                "FAIRLEAD_EDGE_PROT",
                "1",
                "environment: unknown variable FAIRLEAD_EDGE_PROT; did you mean FAIRLEAD_EDGE_PORT?",
            ),
            ("FAIRLEAD_PORT", "1", "environment: unknown variable FAIRLEAD_PORT"),
            ("FAIRLEAD_EDGE_ROOMS", "x", "environment: unknown variable FAIRLEAD_EDGE_ROOMS"),
            ("FAIRLEAD_EDGE_LOBBY", "x", "environment: unknown variable FAIRLEAD_EDGE_LOBBY"),
            ("FAIRLEAD_EDGE_PORT", "x", "environment: FAIRLEAD_EDGE_PORT: expected a whole number, got 'x'"),
            ("FAIRLEAD_EDGE_PORT", "", "environment: FAIRLEAD_EDGE_PORT: expected a whole number, got ''"),
            (
                "FAIRLEAD_EDGE_PORT",
                "70000",
                "environment: FAIRLEAD_EDGE_PORT: expected a whole number of at most 65535, got '70000'",
            ),
            ("FAIRLEAD_EDGE_LOUD", "yes", "environment: FAIRLEAD_EDGE_LOUD: expected true or false, got 'yes'"),
            ("FAIRLEAD_EDGE_DELAY", "soon", "environment: FAIRLEAD_EDGE_DELAY: expected a duration such as"),
        ],
    )
    def test_the_variable_and_what_was_expected(self, tmp_path: Path, variable: str, text: str, said: str) -> None:
        assert refusal(tmp_path, "", **{variable: text}).startswith(said)

    def test_the_value_of_a_secret_is_never_told(self, tmp_path: Path) -> None:
        said = refusal(tmp_path, "", WithSecret, FAIRLEAD_POSTGRES_ULR="hunter2", FAIRLEAD_POSTGRES_URL="hunter2")
        assert "hunter2" not in said


# --- durations ------------------------------------------------------------------------------------------------------

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


@pytest.mark.parametrize(
    ("written", "seconds"), [(0, 0), (300, 300), (0.5, 0.5), ("300", 300), ("1.5", 1.5), ("300s", 300), ("1h30m", 5400)]
)
def test_durations(written: object, seconds: float) -> None:
    assert Duration.parse(written) == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["", "s", "5x", "5 m", "-5", "-5s", "1e3", "5m ", "m5", "٣", "inf", "9" * 400])
def test_text_that_is_no_duration(written: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        Duration.parse(written)


@pytest.mark.parametrize("written", [-1, -0.1, True, None, [], math.inf, math.nan, 1e12])
def test_values_that_are_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        Duration.parse(written)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from(sorted(UNITS))), min_size=1, max_size=4))
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert Duration.parse(text) == pytest.approx(sum(number * UNITS[unit] for number, unit in parts))


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="0123456789.smhd -e", max_size=8) | st.text(max_size=8) | st.floats() | st.integers())
def test_anything_is_a_finite_duration_or_a_value_error(written: object) -> None:
    try:
        seconds = Duration.parse(written)
    except ValueError:
        return
    assert 0 <= seconds < 1e10


@pytest.mark.parametrize("thresholds", [[700], [700, 10, 0], [1, 2, 3, 4], [-1, 1, 1]])
def test_thresholds_of_garbage_collection_are_three_or_none(thresholds: list[int]) -> None:
    with pytest.raises(ValueError, match="three numbers from 1 on"):
        ProcessSettings(gc_thresholds=thresholds)
    assert ProcessSettings(gc_thresholds=[]).gc_thresholds == []
