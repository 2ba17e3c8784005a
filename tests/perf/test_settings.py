"""The environment wins over the local stack's secrets, those over the defaults."""

from __future__ import annotations

from pathlib import Path

from perf import settings


def test_secrets_of_the_local_stack_are_found_and_overridden(tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_text(
        "# made by make up\nFAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY=from=file\nexport FAIRLEAD_HTTP_API_KEY='quoted'\n\n"
    )
    loaded = settings.load({"FAIRLEAD_NATS_URL": "nats://127.0.0.1:9"}, tmp_path)
    assert (loaded.token_secret, loaded.api_key, loaded.nats_url) == ("from=file", "quoted", "nats://127.0.0.1:9")
    assert settings.load({"FAIRLEAD_HTTP_API_KEY": "mine"}, tmp_path).api_key == "mine"


def test_without_a_stack_there_are_defaults_and_no_secret(tmp_path: Path) -> None:
    loaded = settings.load({}, tmp_path / "none")
    assert (loaded.token_secret, loaded.nats_url) == ("", "nats://127.0.0.1:4222")


def test_a_stack_on_other_ports_is_found(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stack.json").write_text(
        '{"edges": 2, "ports": {"traefik_sockets": 1, "nats": 2, "sessions": 3}}'
    )
    loaded = settings.load({}, tmp_path)
    assert loaded.websocket_url == "ws://127.0.0.1:1/connection/websocket"
    assert (loaded.nats_url, loaded.sessions_url) == ("nats://127.0.0.1:2", "http://127.0.0.1:3")
    assert loaded.environ["FAIRLEAD_NATS_URL"] == "nats://127.0.0.1:2"  # for an edge that perf starts


def test_secrets_are_not_shown() -> None:
    assert "hush" not in repr(settings.PerfSettings("hush", "hush", "hush", environ={"X": "hush"}))
