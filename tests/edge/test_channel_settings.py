"""The settings of channels: their history, and Centrifugo's names for their options."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from services.chassis.process.settings import Duration
from services.edge.channel_settings import ChannelOptions
from services.edge.channels.namespaces import Namespaces
from services.edge.settings import EdgeSettings
from tests.edge.read_settings import SECRET, read, refusal

HISTORY = 'history_size = 1\nhistory_ttl = "1h"'


@pytest.mark.parametrize(
    "text, said",
    [
        (
            f"history_max_bytes = 20_000_000\n[channel.without_namespace]\n{HISTORY}\n[[channel.namespaces]]\n"
            f'name = "chat"\n{HISTORY}',
            "channel.history_max_bytes: expected at least 33554432 for the namespaces with history, got 20000000",
        ),
        (
            f"history_max_bytes = 40_000_000\n[channel.without_namespace]\n{HISTORY}\nhistory_max_bytes = 50_000_000",
            "channel.history_max_bytes: expected at least 50000000 for the namespaces with history, got 40000000",
        ),
        (
            f"[channel.without_namespace]\n{HISTORY}\nhistory_max_bytes = 1_000_000",
            "channel.without_namespace: history_max_bytes: expected at least 16777216, 1 MiB for each of the 16",
        ),
        (
            f'[channel.without_namespace]\n{HISTORY}\nhistory_when_full = "drop"',
            'channel.without_namespace: expected history_when_full "evict" or "refuse"',
        ),
    ],
)
def test_bytes_that_do_not_fit_the_histories_are_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, f"[channel]\n{text}")


@pytest.mark.parametrize("where", ["[channel.without_namespace]", '[[channel.namespaces]]\nname = "live"'])
@pytest.mark.parametrize(
    "option", ["history_max_bytes = 100_000_000", 'history_meta_ttl = "1h"', 'history_when_full = "refuse"']
)
def test_an_option_of_the_history_where_there_is_none_is_refused(tmp_path: Path, where: str, option: str) -> None:
    said = refusal(tmp_path, f"{where}\n{option}")
    assert f"{option.split()[0]}: expected history_size and history_ttl" in said
    assert ("live" in said) == ("live" in where)


def test_namespaces_with_history_share_the_bytes_that_no_other_has(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        f"""
        [channel]
        history_max_bytes = 100_000_000
        [channel.without_namespace]
        {HISTORY}
        [[channel.namespaces]]
        name = "chat"
        {HISTORY}
        history_max_bytes = 40_000_000
        [[channel.namespaces]]
        name = "live"
        [[channel.namespaces]]
        name = "news"
        {HISTORY}
        """,
        SECRET,
    )
    classes = Namespaces(settings.channel).history_classes()
    assert {name: options.history_max_bytes for name, options in classes.items()} == {
        "_": 30_000_000,
        "chat": 40_000_000,
        "news": 30_000_000,
    }


def test_a_rate_of_a_namespace_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    said = refusal(tmp_path, '[[channel.namespaces]]\nname = "chat"\npublish_rate_limit = "often"')
    assert said.startswith('fairlead.toml: channel.namespaces[0] ("chat").publish_rate_limit: expected a rate')


def test_nothing_is_allowed_by_default() -> None:
    defaults = msgspec.structs.asdict(ChannelOptions())
    neither = {"slow_client", "force_recovery_mode", "hook_timeout", "hook_when_away", "history_meta_ttl"}
    neither |= {"history_when_full", "subscribe_backend", "publish_backend", "sub_refresh_backend"}
    assert [name for name, value in defaults.items() if value and name not in neither] == []
    client = EdgeSettings().client
    assert client.transports == ["websocket"]
    open_doors = ("insecure", "allow_anonymous_connect_without_token", "allow_send", "connect_hook", "refresh_hook")
    assert not any(getattr(client, name) for name in open_doors)
    assert {client.hook_when_away, ChannelOptions().hook_when_away} == {"refuse"}, "a backend that is away says no"


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
        presence = true
        join_leave = true
        force_push_join_leave = true
        allow_presence_for_client = true
        allow_presence_for_subscriber = true
        allow_presence_for_anonymous = true
        allow_user_limited_channels = true
        force_recovery_mode = "cache"
        auto_cache_recover = true
        allowed_delta_types = ["fossil"]
        allow_tags_filter = true
        publication_data_format = "json_object"
        channel_regex = "[0-9]+"
    """
    (chat,) = read(tmp_path, text).channel.namespaces
    assert (chat.name, chat.history_size, chat.history_ttl, chat.has_history) == ("chat", 100, Duration(300), True)
