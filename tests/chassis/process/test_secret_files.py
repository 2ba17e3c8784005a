"""A secret may be in a file of its own, which a variable or a key names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from services.chassis.process.secret_files import MAX_SECRET_BYTES, Secret
from services.chassis.process.settings import ConfigurationError, Section, load


class Key(Section, frozen=True):
    name: str = ""
    key: Secret = ""


class House(Section, frozen=True):
    name: str = ""
    key: Secret = ""
    keys: list[Key] = []  # noqa: RUF012 - msgspec copies mutable defaults


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    house: House = House()


def read(tmp_path: Path, text: str = "", **variables: str) -> House:
    file = tmp_path / "house.toml"
    file.write_text(text, encoding="utf-8")
    settings: Settings = load(Settings, {"FAIRLEAD_CONFIG": str(file), **variables}, {"house", "garden"})
    return settings.house


def refusal(tmp_path: Path, text: str = "", **variables: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, text, **variables)
    return str(refused.value).replace(f"{tmp_path}/", "")


def secret_file(tmp_path: Path, content: str | bytes = "hidden") -> str:
    path = tmp_path / "key.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    ("content", "value"),
    [("hidden", "hidden"), ("hidden\n", "hidden"), ("hidden\r\n", "hidden"), ("a\nb\n\n", "a\nb\n"), (" é ", " é ")],
)
def test_its_content_is_the_value_without_one_line_break_at_the_end(tmp_path: Path, content: str, value: str) -> None:
    assert read(tmp_path, FAIRLEAD_HOUSE_KEY_FILE=secret_file(tmp_path, content)).key == value


def test_the_key_in_the_configuration_may_name_it_too_also_in_a_table(tmp_path: Path) -> None:
    path = secret_file(tmp_path)
    house = read(tmp_path, f'[house]\nkey_file = "{path}"\n[[house.keys]]\nname = "a"\nkey_file = "{path}"')
    assert house == House(key="hidden", keys=[Key("a", "hidden")])


def test_a_variable_wins_over_the_configuration_whichever_way_each_gives_it(tmp_path: Path) -> None:
    path = secret_file(tmp_path)
    assert read(tmp_path, "[house]\nkey = 'open'", FAIRLEAD_HOUSE_KEY_FILE=path).key == "hidden"
    assert read(tmp_path, "[house]\nkey_file = '/none'", FAIRLEAD_HOUSE_KEY="open").key == "open"


def test_given_both_ways_at_one_place_it_is_refused(tmp_path: Path) -> None:
    path = secret_file(tmp_path)
    said = refusal(tmp_path, FAIRLEAD_HOUSE_KEY="open", FAIRLEAD_HOUSE_KEY_FILE=path)
    assert said == "environment: FAIRLEAD_HOUSE_KEY and FAIRLEAD_HOUSE_KEY_FILE: expected one of the two"
    said = refusal(tmp_path, f"[house]\nkey = 'open'\nkey_file = '{path}'")
    assert said == "house.toml: house.key_file: house.key is given too; expected one of the two"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        (b"\xff", "is not text in UTF-8"),
        ("x" * (MAX_SECRET_BYTES + 1), "has more than 65536 bytes"),
    ],
)
def test_a_file_without_a_usable_secret_is_refused_by_the_name_of_its_variable(
    tmp_path: Path, content: Any, why: str
) -> None:
    said = refusal(tmp_path, FAIRLEAD_HOUSE_KEY_FILE=secret_file(tmp_path, content))
    assert said == f"FAIRLEAD_HOUSE_KEY_FILE: 'key.txt' {why}"


def test_a_missing_file_is_refused_by_the_name_of_its_variable_or_key(tmp_path: Path) -> None:
    said = refusal(tmp_path, FAIRLEAD_HOUSE_KEY_FILE="/none")
    assert said == "FAIRLEAD_HOUSE_KEY_FILE: '/none' cannot be read: no such file or directory"
    said = refusal(tmp_path, "[[house.keys]]\nkey_file = '/none'")
    assert said == "house.toml: house.keys[0].key_file: '/none' cannot be read: no such file or directory"
    assert refusal(tmp_path, "[house]\nkey_file = 7") == "house.toml: house.key_file: expected the path of a file"


def test_what_is_no_secret_has_no_file(tmp_path: Path) -> None:
    assert "unknown variable FAIRLEAD_HOUSE_NAME_FILE" in refusal(tmp_path, FAIRLEAD_HOUSE_NAME_FILE="/none")
    assert "unknown key house.name_file" in refusal(tmp_path, "[house]\nname_file = '/none'")
