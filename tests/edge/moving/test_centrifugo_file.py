"""Files that are no configuration of Centrifugo are refused, each with what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from services.edge.moving.centrifugo_file import MAX_BYTES, read_options


def aliases(depth: int) -> str:
    """YAML whose options double with each line."""
    lines = ["n0: &n0 {x: 1, y: 2}"]
    lines += [f"n{n}: &n{n} {{x: *n{n - 1}, y: *n{n - 1}}}" for n in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("config.json", "{", "is not JSON"),
        ("config.yaml", "a: [", "is not YAML"),
        ("config.yaml", "a: !!python/object/apply:os.getcwd []", "is not YAML"),
        ("config.toml", "a = ", "is not TOML"),
        ("config.json", "[1]", "expected a table of options"),
        ("config.yml", "", "expected a table of options"),
        ("config.ini", "a = 1", "expected a name that ends in .json, .yaml, .yml or .toml"),
        (
            "config.json",
            '{"channel": {"namespaces": [{"a": 1}]}}',
            r"channel.namespaces\[0\]: expected a table",
        ),
        ("config.json", '{"a":' * 50 + "1" + "}" * 50, "nests too deep"),
        ("config.json", '{"a":' * 100_000, "is not JSON"),
        ("config.yaml", "a: &a {b: *a}", "nests too deep"),
        ("config.yaml", aliases(18), "expected at most 20000 options"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, text: str, why: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ValueError, match=why):
        read_options(file)


def test_a_file_of_any_size_is_not_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(ValueError, match="expected at most"):
        read_options(file)


def test_what_is_null_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("client:\n  token:\n  insecure: true\n")
    assert [option.path for option in read_options(file)] == ["client.insecure"]


def test_tables_that_are_a_value_are_one_option(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"rpc": {"proxy": {"http": {"static_headers": {"X-Key": "Mixed Case"}}}}}')
    (option,) = read_options(file)
    assert (option.name, option.value) == ("proxy.http.static_headers", {"X-Key": "Mixed Case"})


def test_without_pyyaml_a_yaml_file_is_not_called_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the image, and after `pip install` of the extra `edge`."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    file = tmp_path / "config.yaml"
    file.write_text("client: {}")
    with pytest.raises(ValueError, match="PyYAML is not installed: pip install pyyaml, or convert") as raised:
        read_options(file)
    assert "is not YAML" not in str(raised.value)
