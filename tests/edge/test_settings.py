"""The edge's settings: what must be there, what must fit together, and the names that Centrifugo's users know."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from services.chassis.settings import ConfigurationError, Duration
from services.edge.settings import ChannelOptions, EdgeSettings, from_environ

SECRET = {"FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": "a secret of the tests, " * 3}


def read(tmp_path: Path, text: str = "", environ: dict[str, str] = SECRET) -> EdgeSettings:
    file = tmp_path / "fairlead.toml"
    file.write_text(text, encoding="utf-8")
    return from_environ({"FAIRLEAD_CONFIG": str(file), **environ})


def refusal(tmp_path: Path, text: str = "", environ: dict[str, str] = SECRET) -> str:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, text, environ)
    return str(refused.value).replace(f"{tmp_path}/", "")


def test_with_a_secret_the_defaults_are_usable(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert (settings.edge.host, settings.edge.port, settings.name) == ("127.0.0.1", 8101, "edge-8101")
    assert (settings.client.ping_interval, settings.client.pong_timeout) == (Duration(25), Duration(8))
    assert (settings.client.channel_limit, settings.client.channel_max_length) == (128, 255)
    assert settings.client.message_size_limit == 65536
    assert not settings.client.insecure
    assert settings.client.allowed_origins == []


def test_without_a_secret_it_does_not_start(tmp_path: Path) -> None:
    said = refusal(tmp_path, environ={})
    assert "client.token_hmac_secret_key is missing" in said
    assert "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY" in said


@pytest.mark.parametrize("door", ["insecure", "allow_anonymous_connect_without_token"])
def test_where_anybody_may_connect_no_secret_is_needed(tmp_path: Path, door: str) -> None:
    assert read(tmp_path, f"[client]\n{door} = true", {}).client.token_hmac_secret_key == ""


def test_a_secret_that_can_be_guessed_is_refused_without_telling_it(tmp_path: Path) -> None:
    said = refusal(tmp_path, environ={"FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": "hunter2"})
    assert said == "client.token_hmac_secret_key: expected at least 16 characters, got 7"


def test_nothing_is_allowed_by_default() -> None:
    defaults = msgspec.structs.asdict(ChannelOptions())
    assert [name for name, value in defaults.items() if value and name != "slow_client"] == []


def test_namespaces_bear_the_option_names_of_the_reference(tmp_path: Path) -> None:
    text = """
        [channel.without_namespace]
        allow_subscribe_for_client = true
        [[channel.namespaces]]
        name = "chat"
        history_size = 100
        history_ttl = "300s"
        force_recovery = true
        force_positioning = true
        allow_positioning = true
        allow_recovery = true
        allow_subscribe_for_client = true
        allow_subscribe_for_anonymous = true
        allow_publish_for_client = true
        allow_publish_for_subscriber = true
        allow_publish_for_anonymous = true
        allow_history_for_client = true
        allow_history_for_subscriber = true
        allow_history_for_anonymous = true
        channel_regex = "[0-9]+"
    """
    (chat,) = read(tmp_path, text).channel.namespaces
    assert (chat.name, chat.history_size, chat.history_ttl, chat.has_history) == ("chat", 100, Duration(300), True)


NAMESPACE = "[[channel.namespaces]]\nname = 'chat'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[client]\nping_intervall = 1", "unknown key client.ping_intervall; did you mean ping_interval?"),
        ("[client]\nping_interval = 25\npong_timeout = 25", "client.pong_timeout to be shorter than"),
        ("[client]\nping_interval = 0.5\npong_timeout = 0.1", "expected client.ping_interval of at least 1 s, or 0"),
        ("[client]\nping_interval = inf", "client.ping_interval: expected a duration"),
        ("[client]\nchannel_limit = 0", "client.channel_limit: expected int >= 1"),
        ("[client]\nallowed_origins = '*'", "client.allowed_origins: expected array, got str"),
        ("[edge]\ndrain_timeout = 10", "expected edge.drain_timeout of at most 9.5 s"),
        ("[edge]\ndrain_timeout = 1\ndrain_delay = 1", "expected edge.drain_delay to be shorter than"),
        ("[channel]\nhistory_partitions = 0", "channel.history_partitions: expected int >= 1"),
        (NAMESPACE + "histroy_size = 1", 'channel.namespaces[0] ("chat").histroy_size; did you mean history_size?'),
        (NAMESPACE + "history_size = 1", 'channel.namespaces[0] ("chat"): expected history_size and history_ttl to be'),
        (NAMESPACE + "history_ttl = 1", 'channel.namespaces[0] ("chat"): expected history_size and history_ttl to be'),
        (NAMESPACE + "history_size = 1\nhistory_ttl = 0.5", "expected history_ttl of at least 1 s"),
        (NAMESPACE + "force_recovery = true", "expected history_size and history_ttl, without which nothing can be"),
        (NAMESPACE + "allow_positioning = true", "expected history_size and history_ttl, without which nothing can be"),
        (NAMESPACE + "slow_client = 'wait'", 'expected slow_client "disconnect" or "drop"'),
        (NAMESPACE + "channel_regex = '['", "expected channel_regex to be a regular expression"),
        (NAMESPACE * 2, 'expected each namespace once, "chat" is there twice'),
        ("[[channel.namespaces]]\nname = 'x'", 'channel.namespaces[0] ("x").name: expected str matching regex'),
        ("[[channel.namespaces]]\nname = 'a:b'", 'channel.namespaces[0] ("a:b").name: expected str matching regex'),
        ("[[channel.namespaces]]\nname = \"ab\\n\"", "expected str matching regex"),
        ("[[channel.namespaces]]\nhistory_size = 1", "channel.namespaces[0].name is missing"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    answer = refusal(tmp_path, text)
    assert answer.startswith("fairlead.toml")
    assert said in answer


def test_pings_can_be_switched_off(tmp_path: Path) -> None:
    assert read(tmp_path, "[client]\nping_interval = 0").client.ping_interval == Duration(0)
