"""`import-centrifugo` at the command line: what it writes, what it says of each option, and what it refuses."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from services.edge.configuration import from_environ
from services.edge.moving.centrifugo_file import read_options
from services.edge.moving.importer import import_centrifugo
from services.edge.moving.option_table import read_table
from services.edge.moving.toml_text import toml_text
from services.edge.moving.translation import Translation

EVERY_OPTION = Path(__file__).with_name("every_option.json")
VERDICTS = {"same", "renamed", "not needed", "not there"}
USUAL: dict[str, Any] = {
    "http_server": {"port": 8000, "internal_port": "9000"},
    "client": {
        "allowed_origins": ["https://app.example.com"],
        "token": {"hmac_secret_key": "a secret that is long enough for HMAC"},
    },
    "http_api": {"key": "an API key"},
    "channel": {
        "without_namespace": {"allow_subscribe_for_client": True},
        "namespaces": [{"name": "chat", "history_size": 100, "history_ttl": "300s", "force_recovery": True}],
    },
    "sse": {"enabled": True},
    "admin": {"enabled": True, "password": "the password of the admin", "secret": "s"},
}


def written(tmp_path: Path, config: dict[str, Any]) -> Path:
    file = tmp_path / "config.json"
    file.write_bytes(msgspec.json.encode(config))
    return file


def imported(file: Path, to: Path | None, capsys: pytest.CaptureFixture[str]) -> str:
    import_centrifugo(file, to)
    return capsys.readouterr().out


def test_every_option_of_centrifugo_has_its_verdict(tmp_path: Path) -> None:
    options = read_options(EVERY_OPTION)
    said = {line.option: line for line in Translation(options, read_table()).lines}
    assert len(options) == 1074 and said.keys() >= {option.path for option in options}
    assert {line.option for line in said.values() if line.verdict.value not in VERDICTS} == set()
    silent = [line.option for line in said.values() if line.verdict.value in ("not needed", "not there")]
    assert [option for option in silent if not said[option].says] == [], "it does not say why, or what instead"


def test_json_yaml_and_toml_become_the_same(tmp_path: Path) -> None:
    content = msgspec.json.decode(EVERY_OPTION.read_bytes())
    files = {name: tmp_path / f"config.{name}" for name in ("json", "yaml", "yml", "toml")}
    files["json"].write_text(EVERY_OPTION.read_text())
    files["yaml"].write_text(yaml.safe_dump(content, sort_keys=False))
    files["yml"].write_text(yaml.safe_dump(content, sort_keys=False))
    files["toml"].write_text(toml_text(content, ""))
    made = {name: Translation(read_options(file), read_table()) for name, file in files.items()}
    for each in made.values():
        assert each.tables() == made["json"].tables()
        assert set(each.lines) == set(made["json"].lines)


def test_what_it_writes_is_taken_by_an_edge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "fairlead.toml"
    assert f"written to {to}, which is valid" in imported(written(tmp_path, USUAL), to, capsys)
    settings = from_environ({"FAIRLEAD_CONFIG": str(to)})
    assert (settings.edge.port, settings.edge.client_port) == (9000, 8000), "clients stay at their port"
    assert settings.client.transports == ["websocket", "sse"]
    assert settings.channel.without_namespace.allow_subscribe_for_client
    assert settings.channel.namespaces[0].force_recovery and settings.channel.namespaces[0].history_size == 100
    assert settings.http_api.key == "an API key"


def test_the_file_with_secrets_is_its_owners_and_the_report_shows_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "fairlead.toml"
    said = imported(written(tmp_path, USUAL), to, capsys)
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert "a secret that is long enough" in to.read_text()
    assert [secret for secret in ("long enough", "an API key", "the password") if secret in said] == []


def test_it_says_what_lacks_before_an_edge_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        import_centrifugo(written(tmp_path, {"log": {"level": "info"}}), tmp_path / "fairlead.toml")
    said = capsys.readouterr().out
    assert ended.value.code == 1, "scripts notice it"
    assert "correct this before you start an edge:" in said and "client.token_hmac_secret_key is missing" in said


def test_a_file_that_exists_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "fairlead.toml"
    to.write_text("mine")
    with pytest.raises(SystemExit, match="exists: name another file with --to"):
        imported(written(tmp_path, USUAL), to, capsys)
    assert to.read_text() == "mine"


def test_to_the_standard_output_goes_the_configuration_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_centrifugo(written(tmp_path, USUAL), None)
    printed = capsys.readouterr()
    (tmp_path / "piped.toml").write_text(printed.out)
    from_environ({"FAIRLEAD_CONFIG": str(tmp_path / "piped.toml")})
    assert "not there (" in printed.err
    assert printed.err.endswith("printed the configuration, which is valid\n")


def test_the_report_says_what_lacks_of_a_configuration_that_is_printed_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        import_centrifugo(written(tmp_path, {"log": {"level": "info"}}), None)
    printed = capsys.readouterr()
    assert ended.value.code == 1 and "[log]" in printed.out
    assert "correct this before you start an edge:\n  client.token_hmac_secret_key is missing" in printed.err


def test_a_file_of_an_older_version_is_refused_by_its_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nearly nothing of it would be in the result, which would listen on all addresses."""
    flat = {"token_hmac_secret_key": "x" * 32, "api_key": "k", "port": 8000, "engine": "redis", "log_level": "info"}
    to = tmp_path / "fairlead.toml"
    with pytest.raises(
        SystemExit, match="is from Centrifugo 5 or older, as it has token_hmac_secret_key, api_key, port and 2 more:"
    ):
        import_centrifugo(written(tmp_path, flat), to)
    assert not to.exists() and capsys.readouterr().out == ""
    with pytest.raises(SystemExit) as ended:
        import_centrifugo(written(tmp_path, {"http_api": {"key": "k"}, "api_keey": "k"}), to)
    assert ended.value.code == 1 and to.exists(), "one misspelt option makes no older version"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"fairlead-edge: .*nowhere.json cannot be read: No such file"):
        imported(tmp_path / "nowhere.json", None, capsys)
