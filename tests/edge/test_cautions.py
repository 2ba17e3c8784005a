"""What an operator is warned of at the start."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import fields, replace

from services.chassis.process.settings import Duration, Rate
from services.edge.backend_settings import BackendSettings
from services.edge.cautions import cautions
from services.edge.channel_settings import ChannelOptions, ChannelSection, Namespace
from services.edge.channels.namespaces import Namespaces
from services.edge.client_settings import ClientSection
from services.edge.limit_settings import NO_LIMITS
from services.edge.origins import Origins, check_pattern
from services.edge.session.allowances import Allowances
from services.edge.settings import EdgeSettings

SECRET = "a secret of the tests, of 32 bytes or more"


def warned(**client: object) -> list[str]:
    return list(cautions(EdgeSettings(client=replace(ClientSection(token_hmac_secret_key=SECRET), **client))))


def test_the_defaults_need_none() -> None:
    assert warned() == [] and list(cautions(EdgeSettings(limits=NO_LIMITS))) == []


def test_insecure_and_a_short_secret() -> None:
    (one,) = warned(insecure=True)
    assert "ANYBODY may connect" in one
    (one,) = warned(token_hmac_secret_key="x" * 16)
    assert "shorter than 32 bytes" in one and "xxxx" not in one


def test_a_pattern_of_channels_that_a_client_may_keep_busy() -> None:
    settings = EdgeSettings(
        limits=NO_LIMITS, channel=ChannelSection(namespaces=[Namespace(name="a1", channel_regex="(a+)+")])
    )
    (one,) = cautions(settings)
    assert one.startswith('channel.namespaces, "a1": channel_regex: any client may send a name')


def test_a_header_of_proxies_for_a_backend_without_a_proxy() -> None:
    backend = BackendSettings(name="app", url="http://app.example/{event}", http_headers=["Cookie", "X-Real-IP"])
    settings = EdgeSettings(limits=NO_LIMITS, backends=[backend])
    (one,) = cautions(settings)
    assert one.startswith('backends, "app": http_headers: X-Real-IP is never passed on')
    behind = replace(settings, edge=replace(settings.edge, trusted_proxies=["10.0.0.0/8"]))
    assert list(cautions(behind)) == []


@pytest.mark.parametrize(
    ("pattern", "stranger"),
    [
        ("null", "null"),
        ("*.foo.com", "evil://a.foo.com"),
        ("*foo.com", "https://evilfoo.com"),
        ("http://localhost*", "http://localhost.of.strangers.example"),
        ("https://example.*", "https://example.of.strangers.example"),
        ("HTTPS://*Example.com", "https://strangersexample.com"),
    ],
)
def test_patterns_that_let_in_strangers(pattern: str, stranger: str) -> None:
    check_pattern(pattern)
    assert Origins([pattern]).allow(stranger)
    (one,) = warned(allowed_origins=["https://a.example", pattern])
    assert one.startswith(f'client.allowed_origins: "{pattern}" lets in more pages')
    assert stranger in one or "scheme" in one or pattern == "null"


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "https://*",
        "https://example.com",
        "https://*.example.com",
        "https://*-preview.example.com",
        "https://*.example.com:*",
        "http://localhost:*",
        "*://localhost:3000",
        "http://localhost:3*",
        "http://[::1]:*",
        "file://",
    ],
)
def test_patterns_that_do_not(pattern: str) -> None:
    check_pattern(pattern)
    assert warned(allowed_origins=[pattern]) == []


@pytest.mark.parametrize("name", [field.name for field in fields(NO_LIMITS) if field.type is Rate])
def test_a_rate_that_allows_more_at_once_is_warned_of_with_what_holds(name: str) -> None:
    client = ClientSection(token_hmac_secret_key=SECRET, channel_limit=128)
    limits = replace(NO_LIMITS, **{name: Rate(6, 10)})
    said = list(cautions(EdgeSettings(client=client, limits=limits)))
    allowances, rules = Allowances(limits, client, ChannelSection()), Namespaces(ChannelSection()).rules("x")
    asked = {
        "commands": lambda: allowances.command("client", "user", 0.0),
        "subscribes": lambda: allowances.subscribe("client", "user", rules, 0.0),
        "published_bytes": lambda: allowances.publish("client", "user", rules, 1, 0.0),
    }.get(name.removeprefix("user_"))
    if asked is None:
        assert said == []
        return
    at_once = next(count for count in range(100_000) if asked())
    (one,) = said
    assert one.startswith(f"limits.{name}: 6/10s is taken as {at_once}/") and f"{at_once} at once" in one


def test_the_rates_of_namespaces_too() -> None:
    few = ChannelOptions(subscribe_rate_limit=Rate(3, 10), publish_rate_limit=Rate(1, 10))
    live = Namespace(name="live", publish_bytes_rate_limit=Rate(1000, 10), subscribe_rate_limit=Rate(128, 10))
    settings = EdgeSettings(channel=ChannelSection(without_namespace=few, namespaces=[live]))
    assert [re.split(", which", one)[0] for one in cautions(settings)] == [
        "channel.without_namespace: subscribe_rate_limit: 3/10s is taken as 128/426.667s",
        'channel.namespaces, "live": publish_bytes_rate_limit: 1000/10s is taken as 65536/655.36s',
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"allow_subscribe_for_anonymous": True}, "allow_subscribe_for_client"),
        ({"allow_publish_for_anonymous": True}, "allow_publish_for_client or allow_publish_for_subscriber"),
        ({"allow_history_for_subscriber": True}, "history_size"),
        ({"allow_presence_for_client": True}, "presence or join_leave"),
        ({"force_push_join_leave": True, "presence": True}, "join_leave"),
    ],
)
def test_options_that_do_nothing_alone(options: dict[str, bool], said: str) -> None:
    first, alone = next(iter(options)), replace(Namespace(name="live"), **options)
    (one,) = cautions(EdgeSettings(channel=ChannelSection(namespaces=[alone])))
    assert one == f'channel.namespaces, "live": {first} does nothing without {said}'
    needed: dict[str, object] = {"history_size": 1, "history_ttl": Duration(60)}
    together = replace(alone, **needed | dict.fromkeys(set(said.split(" or ")) - set(needed), True))
    assert list(cautions(EdgeSettings(channel=ChannelSection(namespaces=[together])))) == []
