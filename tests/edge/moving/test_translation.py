"""What options of Centrifugo become where the two servers differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.edge.configuration import from_environ
from services.edge.moving.toml_text import toml_text
from tests.edge.moving.conversions import converted


def namespace(tmp_path: Path, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of one namespace, and the lines about them."""
    made = converted(tmp_path, channel={"namespaces": [{"name": "chat", **options}]})
    lines = {line.option.rpartition(".")[2]: line for line in made.lines.values()}
    return made.tables["channel"]["namespaces"][0], lines


def test_what_centrifugo_does_unasked_is_written_where_an_edge_does_otherwise(tmp_path: Path) -> None:
    made = converted(tmp_path)
    assert made.tables["edge"] == {"host": "0.0.0.0", "port": 8000}
    assert made.tables["client"] == {"concurrency": 1}, "RPCs of one client in their order"
    assert made.lines["http_server.port"].says == "Centrifugo's default"


@pytest.mark.parametrize("internal", ["9000", 9000])
def test_a_second_port_is_for_clients_here_and_for_the_inside_there(tmp_path: Path, internal: Any) -> None:
    made = converted(tmp_path, http_server={"internal_port": internal})
    assert made.tables["edge"]["port"] == 9000 and made.tables["edge"]["client_port"] == 8000


def test_the_same_port_twice_is_one(tmp_path: Path) -> None:
    made = converted(tmp_path, http_server={"port": 8000, "internal_port": "8000"})
    assert made.tables["edge"]["port"] == 8000 and "client_port" not in made.tables["edge"]


def test_what_is_off_is_not_missed(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        grpc_api={"enabled": False, "port": 10000},
        uni_sse={"max_request_body_size": 1_000_000},
        broker={"nats": {"url": "nats://nowhere:4222"}},
        client={"proxy": {"connect": {"enabled": False, "endpoint": "http://127.0.0.1"}}},
        http_server={"tls": {"enabled": False, "cert_pem_file": "x"}, "h2c_external": False},
    )
    assert {line.verdict.value for option, line in made.lines.items() if "connect.enabled" not in option} <= {
        "not needed",
        "same",
        "renamed",
    }
    assert made.lines["grpc_api.port"].says == "grpc_api.enabled is off"
    assert "nats" not in made.tables and "message_size_limit" not in made.tables["client"]


def test_how_one_way_connections_end_is_one_list(tmp_path: Path) -> None:
    transforms = [{"code": 404, "to": {"code": 4904, "reason": "not found"}}]
    for enabled in (True, False):
        table = {"enabled": enabled, "transforms": transforms}
        made = converted(tmp_path, client={"connect_code_to_unidirectional_disconnect": table})
        written = made.tables["client"].get("connect_code_to_unidirectional_disconnect")
        assert written == (transforms if enabled else None)
        assert made.lines["client.connect_code_to_unidirectional_disconnect.enabled"].verdict.value == "not needed"


def test_the_transports_that_are_on_are_a_list(tmp_path: Path) -> None:
    made = converted(tmp_path, websocket={"disabled": True}, sse={"enabled": True}, http_stream={"enabled": False})
    assert made.tables["client"]["transports"] == ["sse"]
    assert made.verdict("websocket.disabled") == made.verdict("sse.enabled") == "renamed"


def test_one_limit_of_size_takes_the_largest(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        websocket={"message_size_limit": 100_000},
        sse={"enabled": True, "max_request_body_size": 200_000},
    )
    assert made.tables["client"]["message_size_limit"] == 200_000


def test_a_limit_that_would_stop_the_start_is_left_out(tmp_path: Path) -> None:
    made = converted(tmp_path, websocket={"message_size_limit": 1_000}, client={"channel_limit": 300})
    assert "message_size_limit" not in made.tables["client"]
    assert "too small for 300 subscriptions" in made.lines["websocket.message_size_limit"].says


@pytest.mark.parametrize("half", [{"history_size": 9}, {"history_ttl": "9s"}, {"history_size": 0, "history_ttl": "0s"}])
def test_without_a_history_nothing_of_it_is_written(tmp_path: Path, half: dict[str, Any]) -> None:
    options, lines = namespace(tmp_path, **half, force_recovery=True, allowed_delta_types=["fossil"], presence=True)
    assert options == {"name": "chat", "presence": True}
    assert "no history" in lines["force_recovery"].says and lines["force_recovery"].verdict.value == "not needed"


def test_what_holds_for_all_channels_becomes_an_option_of_each_namespace(tmp_path: Path) -> None:
    history = {"history_size": 10, "history_ttl": "60s"}
    made = converted(
        tmp_path,
        channel={
            "history_meta_ttl": "48h",
            "publication_data_format": "json",
            "namespaces": [{"name": "aa", **history}, {"name": "bb", "publication_data_format": "json_object"}],
        },
    )
    first, second = made.tables["channel"]["namespaces"]
    assert first["history_meta_ttl"] == "48h" and first["publication_data_format"] == "json"
    assert "history_meta_ttl" not in second and second["publication_data_format"] == "json_object"


def test_an_expression_that_matches_a_part_there_matches_the_whole_here(tmp_path: Path) -> None:
    options, lines = namespace(tmp_path, channel_regex="[0-9]")
    assert options["channel_regex"] == "(?s:.*)(?:[0-9])(?s:.*)" and "whole" in lines["channel_regex"].says


def test_an_expression_of_go_alone_is_for_the_operator(tmp_path: Path) -> None:
    options, lines = namespace(tmp_path, channel_regex=r"^\pL+$")
    assert "channel_regex" not in options and lines["channel_regex"].verdict.value == "not there"


def test_a_rate_is_written_as_one(tmp_path: Path) -> None:
    made = converted(tmp_path, client={"connection_rate_limit": 500, "connection_limit": 10_000})
    assert made.tables["limits"] == {"connects": "500/1s", "connections": 10_000}


def test_the_key_before_goes_on_being_taken(tmp_path: Path) -> None:
    made = converted(tmp_path, client={"token": {"hmac_secret_key": "new", "hmac_previous_secret_key": "old"}})
    assert made.tables["client"]["token_hmac_secret_key"] == "new"
    assert made.tables["client"]["token_keys"] == [{"algorithm": "HS256", "secret": "old"}]


def test_a_proxy_becomes_a_backend_that_the_hook_names(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        client={"proxy": {"connect": {"enabled": True, "endpoint": "http://127.0.0.1:3000/connect", "timeout": "2s"}}},
        channel={
            "proxy": {"publish": {"endpoint": "grpc://127.0.0.1:3001"}},
            "namespaces": [{"name": "chat", "subscribe_proxy_enabled": True, "subscribe_proxy_name": "rooms"}],
        },
        proxies=[{"name": "rooms", "endpoint": "http://127.0.0.1:3000/subscribe", "http_headers": ["Cookie"]}],
    )
    file = tmp_path / "fairlead.toml"
    file.write_text(toml_text(made.tables, ""))
    settings = from_environ({"FAIRLEAD_CONFIG": str(file)})
    assert settings.client.connect_hook and settings.client.connect_backend == "connect"
    assert settings.channel.namespaces[0].subscribe_hook and settings.channel.namespaces[0].subscribe_backend == "rooms"
    assert {each.name: each.url for each in settings.backends} == {
        "connect": "http://127.0.0.1:3000/connect",
        "rooms": "http://127.0.0.1:3000/subscribe",
    }
    assert made.lines["proxies[rooms].endpoint"].key == "backends[rooms].url"
    assert "over HTTP, or on NATS" in made.lines["channel.proxy.publish.endpoint"].says


def test_a_proxy_of_grpc_becomes_no_backend_and_its_hook_is_asked_on_nats(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        client={"proxy": {"connect": {"enabled": True, "endpoint": "grpc://backend:30000", "timeout": "600s"}}},
        channel={"namespaces": [{"name": "web", "subscribe_proxy_enabled": True, "subscribe_proxy_name": "rooms"}]},
        proxies=[{"name": "rooms", "endpoint": "grpc://backend:30000", "http_headers": ["Cookie"]}],
    )
    assert "backends" not in made.tables
    assert made.lines["client.proxy.connect.timeout"].says == "client.proxy.connect is asked over gRPC"
    assert made.lines["client.proxy.connect.endpoint"].says.startswith("gRPC is not supported")
    assert made.verdict("proxies[rooms].http_headers") == "not needed", "it would be renamed to what is not there"
    for switch in ("client.proxy.connect.enabled", "channel.namespaces[web].subscribe_proxy_enabled"):
        assert "asked on NATS" in made.lines[switch].says


def test_a_proxy_that_is_not_there_or_of_grpc_gives_no_key_that_is_not_in_the_file(tmp_path: Path) -> None:
    on = {"subscribe_proxy_enabled": True, "subscribe_proxy_name": "nope"}
    of_grpc = {"publish_proxy_enabled": True, "publish_proxy_name": "rooms"}
    made = converted(
        tmp_path,
        channel={"namespaces": [{"name": "chat", **on, **of_grpc}]},
        proxies=[{"name": "rooms", "endpoint": "grpc://backend:30000"}],
        rpc={"namespaces": [{"name": "pay", "proxy_enabled": True, "proxy_name": "nope"}]},
    )
    for path in ("channel.namespaces[chat].subscribe_proxy_name", "rpc.namespaces[pay].proxy_name"):
        assert (made.verdict(path), made.lines[path].says) == (
            "not there",
            "no table of proxies has this name: name one that exists",
        )
    assert made.verdict("channel.namespaces[chat].publish_proxy_name") == "not needed"
    assert made.verdict("rpc.namespaces[pay].proxy_enabled") == "not needed" and "rpc" not in made.tables


def test_the_backend_of_a_namespace_of_rpcs_is_named_where_it_stands(tmp_path: Path) -> None:
    proxy = {"endpoint": "http://127.0.0.1"}
    made = converted(tmp_path, rpc={"proxy": proxy, "namespaces": [{"name": "pay", "proxy_enabled": True}]})
    assert made.tables["rpc"] == {"namespaces": [{"name": "pay", "backend": "rpc"}]}
    assert made.lines["rpc.namespaces[pay].proxy_enabled"].key == "rpc.namespaces[pay].backend"
    assert made.verdict("rpc.namespaces[pay].name") == "same"


def test_a_lost_origin_is_not_called_the_same(tmp_path: Path) -> None:
    origins = ["https://?.example.com", "https://{a,b}.example.com"]
    made = converted(tmp_path, client={"allowed_origins": origins})
    assert made.tables["client"]["allowed_origins"] == ["https://a.example.com", "https://b.example.com"]
    assert made.verdict("client.allowed_origins") == "not there"
    assert "https://?.example.com" in made.lines["client.allowed_origins"].says


def test_a_secret_beside_a_jwks_for_each_issuer_stays_out_as_centrifugo_does_not_look_at_it(tmp_path: Path) -> None:
    token = {
        "hmac_secret_key": "a secret that is long enough for HMAC",
        "jwks_public_endpoint": "https://id.example.com/realms/{{realm}}/certs",
        "issuer_regex": "^https://id\\.example\\.com/realms/(?P<realm>[a-z]+)$",
    }
    made = converted(tmp_path, client={"token": token})
    assert "token_hmac_secret_key" not in made.tables["client"]
    assert made.verdict("client.token.hmac_secret_key") == "not needed"
    file = tmp_path / "fairlead.toml"
    file.write_text(toml_text(made.tables, ""))
    from_environ({"FAIRLEAD_CONFIG": str(file)})


def test_a_proxy_that_may_take_long_takes_the_hook_with_it(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        client={"proxy": {"connect": {"enabled": True, "endpoint": "http://127.0.0.1/connect", "timeout": "3s"}}},
    )
    assert made.tables["client"]["hook_timeout"] == "3s"
    assert made.lines["client.proxy.connect.enabled"].says == "with hook_timeout = 3s"


def test_a_client_may_no_longer_replace_a_static_header(tmp_path: Path) -> None:
    proxy = {
        "endpoint": "http://127.0.0.1",
        "http_headers": ["Cookie", "authorization"],
        "http": {"static_headers": {"Authorization": "Bearer of-centrifugo"}},
    }
    made = converted(tmp_path, rpc={"proxy": proxy, "without_namespace": {"proxy_enabled": True}})
    (backend,) = made.tables["backends"]
    assert backend["http_headers"] == ["Cookie"] and backend["static_headers"]
    assert "without authorization, which static_headers has" in made.lines["rpc.proxy.http_headers"].says


@pytest.mark.parametrize(("emulated", "said"), [({}, True), ({"emulated_headers": []}, False)])
def test_before_6_9_headers_came_from_two_places(tmp_path: Path, emulated: dict[str, Any], said: bool) -> None:
    proxy = {"endpoint": "http://127.0.0.1", "http_headers": ["Authorization"]} | emulated
    made = converted(tmp_path, rpc={"proxy": proxy})
    assert ("emulated_headers" in made.lines["rpc.proxy.http_headers"].says) is said


def test_a_hook_is_asked_about_more_channels_than_its_proxy(tmp_path: Path) -> None:
    options, lines = namespace(tmp_path, subscribe_proxy_enabled=True, allow_user_limited_channels=True)
    assert options["subscribe_hook"] and "is asked about these channels" in lines["allow_user_limited_channels"].says


def test_tls_that_was_asked_of_nats_is_asked_again(tmp_path: Path) -> None:
    nats = {"url": "nats://one:4222,nats://two:4222", "tls": {"enabled": True, "server_ca_pem": "/tls/ca.pem"}}
    made = converted(tmp_path, broker={"enabled": True, "type": "nats", "nats": nats})
    assert made.tables["nats"] == {"url": "tls://one:4222,tls://two:4222", "ca_file": "/tls/ca.pem"}


def test_a_consumer_gets_the_advice_for_its_type(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        consumers=[
            {"name": "outbox", "enabled": True, "type": "postgresql", "postgresql": {"dsn": "postgres://"}},
            {"name": "kafka", "enabled": True, "type": "kafka"},
        ],
    )
    assert "outbox table" in made.lines["consumers[outbox].type"].says
    assert "/api/publish" in made.lines["consumers[kafka].enabled"].says


def test_a_key_whose_time_is_over_stays_out(tmp_path: Path) -> None:
    token = {"hmac_secret_key": "new", "hmac_previous_secret_key": "old", "hmac_previous_secret_key_valid_until": 1_000}
    assert "token_keys" in converted(tmp_path, 999, client={"token": token}).tables["client"]
    made = converted(tmp_path, 1_001, client={"token": token})
    assert "token_keys" not in made.tables["client"]
    assert made.lines["client.token.hmac_previous_secret_key"].says == "it is no longer valid"


def test_a_file_of_an_older_version_is_recognized(tmp_path: Path) -> None:
    made = converted(tmp_path, token_hmac_secret_key="x", namespaces=[{"name": "chat"}])
    assert {line.says for line in made.lines.values() if line.verdict.value == "unknown"} == {
        "not an option of Centrifugo 6: if the file is from an older version, convert it to version 6 first"
    }


def test_a_boundary_of_its_own_is_said(tmp_path: Path) -> None:
    made = converted(tmp_path, channel={"namespace_boundary": "/", "private_prefix": "$"})
    assert made.verdict("channel.private_prefix") == "same"
    assert made.lines["channel.namespace_boundary"].says == "a namespace ends with a colon: rename channels"


def test_an_option_of_nobody_is_said(tmp_path: Path) -> None:
    made = converted(tmp_path, client={"tokn": {"hmac_secret_key": "x"}}, token_hmac_secret_key="x")
    assert made.verdict("client.tokn.hmac_secret_key") == made.verdict("token_hmac_secret_key") == "unknown"


def test_a_name_in_capitals_is_the_same_option(tmp_path: Path) -> None:
    assert converted(tmp_path, Log={"Level": "warn"}).tables["log"] == {"level": "warning"}


@pytest.mark.parametrize(("value", "written"), [("8000", 8000), (8000, 8000)])
def test_numbers_may_be_texts(tmp_path: Path, value: Any, written: int) -> None:
    assert converted(tmp_path, http_server={"port": value}).tables["edge"]["port"] == written


def test_a_value_that_an_edge_does_not_take_is_said_without_the_value(tmp_path: Path) -> None:
    made = converted(tmp_path, client={"channel_limit": "plenty", "pong_timeout": "-1s", "ping_interval": "-1s"})
    assert made.tables["client"] == {"concurrency": 1, "ping_interval": 0}
    assert made.verdict("client.channel_limit") == made.verdict("client.pong_timeout") == "not there"
    assert "plenty" not in made.lines["client.channel_limit"].says
