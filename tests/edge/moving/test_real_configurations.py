"""Configurations as they are met: an edge takes what each becomes, and means the same by it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.chassis.process.settings import ConfigurationError
from services.edge.cautions import cautions
from services.edge.client_settings import ClientSection
from services.edge.configuration import from_environ
from services.edge.moving.centrifugo_file import read_options
from services.edge.moving.option_table import read_table
from services.edge.moving.toml_text import toml_text
from services.edge.moving.translation import Translation
from services.edge.settings import EdgeSettings
from tests.edge.moving.test_importer import EVERY_OPTION

SECRET = "bbe7d157-a253-4094-9759-06a8236543f9"

SWITCHES = [
    "presence",
    "join_leave",
    "force_push_join_leave",
    "force_positioning",
    "allow_positioning",
    "force_recovery",
    "allow_recovery",
    "allow_tags_filter",
    *(
        f"allow_{what}_for_{whom}"
        for what in ("subscribe", "publish", "presence", "history")
        for whom in ("client", "subscriber", "anonymous")
        if (what, whom) != ("subscribe", "subscriber")
    ),
    "allow_user_limited_channels",
]


def settings_of(tmp_path: Path, config: str | dict[str, Any], **variables: str) -> EdgeSettings:
    """What an edge reads of the file that a configuration becomes, and of these variables."""
    file, made = tmp_path / "config.yaml", tmp_path / "fairlead.toml"
    file.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    made.write_text(toml_text(Translation(read_options(file), read_table()).tables(), "made"))
    return from_environ({"FAIRLEAD_CONFIG": str(made), **variables})


def test_a_chart_for_kubernetes_has_its_secrets_in_variables(tmp_path: Path) -> None:
    config = """
client:
  allowed_origins: ["*"]
engine:
  type: memory
admin:
  enabled: true
channel:
  without_namespace:
    history_size: 100
    history_ttl: "720h"
    allow_subscribe_for_client: true
    allow_history_for_subscriber: true
  namespaces:
    - name: trading
      history_size: 100
      history_ttl: "720h"
      force_recovery: true
      force_positioning: true
      allow_subscribe_for_client: true
health:
  enabled: true
prometheus:
  enabled: true
"""
    with pytest.raises(ConfigurationError, match="FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY"):
        settings_of(tmp_path, config)
    settings = settings_of(
        tmp_path,
        config,
        FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY=SECRET,
        FAIRLEAD_HTTP_API_KEY="key of the backends",
        FAIRLEAD_CLIENT_ALLOWED_ORIGINS="https://a.example.com,https://b.example.com",
    )
    assert (
        float(settings.channel.namespaces[0].history_ttl) == 720 * 3600
        and settings.channel.namespaces[0].force_positioning
    )
    assert settings.channel.without_namespace.has_history and len(settings.client.allowed_origins) == 2


def test_every_switch_of_a_namespace_stays_on(tmp_path: Path) -> None:
    options = {"history_size": 10, "history_ttl": "60s", "allowed_delta_types": ["fossil"]} | dict.fromkeys(
        SWITCHES, True
    )
    config = {
        "client": {"token": {"hmac_secret_key": SECRET}},
        "channel": {"namespaces": [{"name": "all", **options}]},
    }
    settings = settings_of(tmp_path, config)
    (namespace,) = settings.channel.namespaces
    assert [switch for switch in SWITCHES if getattr(namespace, switch) is not True] == []
    assert list(cautions(settings)) == []


def test_public_keys_stay_keys(tmp_path: Path) -> None:
    pem = [
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1()))
    ]
    token = {"rsa_public_key": pem[0], "ecdsa_public_key": pem[1], "audience": "app", "issuer": "me"}
    client = settings_of(tmp_path, {"client": {"token": token}}).client
    assert (client.token_rsa_public_key, client.token_ecdsa_public_key) == tuple(pem)
    assert (client.token_audience, client.token_issuer) == ("app", "me")


def test_each_realm_has_its_keys(tmp_path: Path) -> None:
    token = {
        "jwks_public_endpoint": "https://keycloak.example.com/{{realm}}/protocol/openid-connect/certs",
        "issuer_regex": "https://keycloak.example.com/auth/realms/(?P<realm>[A-z]+)",
    }
    subscription_token = {"enabled": True, "hmac_secret_key": SECRET, "user_id_claim": "uid"}
    config = {"client": {"token": token, "subscription_token": subscription_token}}
    client = settings_of(tmp_path, config).client
    assert client.token_jwks_public_endpoint == token["jwks_public_endpoint"]
    assert client.subscription_token_hmac_secret_key == SECRET and client.subscription_token_user_id_claim == "uid"


def test_one_way_clients_on_the_broker_that_is_nats(tmp_path: Path) -> None:
    config = {
        "websocket": {"disabled": True},
        "uni_sse": {"enabled": True},
        "uni_http_stream": {"enabled": True, "max_request_body_size": 131072},
        "broker": {"enabled": True, "type": "nats", "nats": {"url": "nats://user:password@nats:4222", "prefix": "one"}},
        "client": {
            "token": {"hmac_secret_key": SECRET},
            "subscribe_to_user_personal_channel": {
                "enabled": True,
                "personal_channel_namespace": "personal",
                "single_connection": True,
            },
        },
        "channel": {"namespaces": [{"name": "personal", "presence": True}]},
    }
    settings = settings_of(tmp_path, config)
    assert settings.client.transports == ["uni_http_stream", "uni_sse"]
    assert settings.client.message_size_limit == 131072 and settings.client.single_connection
    assert settings.nats.url == "nats://user:password@nats:4222"


def test_an_authenticating_proxy_has_to_be_named(tmp_path: Path) -> None:
    config = {"client": {"user_id_http_header": "X-User-Id"}, "http_api": {"key": "key"}}
    with pytest.raises(ConfigurationError, match=r"edge\.trusted_proxies"):
        settings_of(tmp_path, config)
    assert settings_of(tmp_path, config, FAIRLEAD_EDGE_TRUSTED_PROXIES="10.0.0.0/8").client.user_id_http_header


def test_proxies_of_grpc_leave_an_edge_that_starts_and_lets_nobody_in_unasked(tmp_path: Path) -> None:
    server = {
        "endpoint": "grpc://server.default.svc.cluster.local:30000",
        "timeout": "600s",
        "http_headers": ["Cookie"],
    }
    config = {
        "client": {"proxy": {"connect": {"enabled": True, **server}, "refresh": {"enabled": True, **server}}},
        "channel": {"proxy": {"subscribe": server}, "namespaces": [{"name": "web", "subscribe_proxy_enabled": True}]},
        "rpc": {"proxy": server, "namespaces": [{"name": "web", "proxy_enabled": True}]},
    }
    settings = settings_of(tmp_path, config)
    assert settings.client.connect_hook and settings.client.connect_backend == "nats"
    assert settings.channel.namespaces[0].subscribe_hook and settings.backends == []
    assert settings.client.hook_when_away == "refuse"


DEFAULTS: dict[str, Any] = {
    "http_server": {"port": 8000},
    "client": {
        "ping_interval": "25s",
        "pong_timeout": "8s",
        "expired_close_delay": "25s",
        "expired_sub_close_delay": "25s",
        "stale_close_delay": "10s",
        "channel_limit": 128,
        "queue_max_size": 1048576,
        "history_max_publication_limit": 300,
        "recovery_max_publication_limit": 300,
    },
    "channel": {
        "history_meta_ttl": "48h",
        "max_length": 255,
        "private_prefix": "$",
        "namespace_boundary": ":",
        "user_boundary": "#",
        "user_separator": ",",
    },
    "websocket": {"message_size_limit": 65536, "compression_level": 1, "handler_prefix": "/connection/websocket"},
    "uni_websocket": {"compression_level": 1},
    "shutdown": {"timeout": "30s"},
    "log": {"level": "info"},
}


VALUES = ("static_headers", "static_metadata", "channel_replacements")


def all_off(option: Any) -> Any:
    """What a file of all defaults has where Centrifugo has none: `false`, `0`, `"0s"`, an empty text or list."""
    if isinstance(option, dict):
        return {name: {} if name in VALUES else all_off(each) for name, each in option.items()}
    if isinstance(option, str):
        return "0s" if re.fullmatch(r"\d+(ms|s|m|h)", option) else ""
    return type(option)()


def test_a_file_of_all_defaults_becomes_the_defaults_and_misses_nothing(tmp_path: Path) -> None:
    """As `centrifugo defaultconfig` writes it, with the secret that it needs and one namespace."""
    config = all_off(msgspec.json.decode(EVERY_OPTION.read_bytes()))
    for section, options in DEFAULTS.items():
        config[section] |= options
    config["client"]["token"]["hmac_secret_key"] = SECRET
    history = {"name": "chat", "history_size": 10, "history_ttl": "60s"}
    config["channel"]["namespaces"] = [config["channel"]["without_namespace"] | history]
    file = tmp_path / "config.json"
    file.write_bytes(msgspec.json.encode(config))
    lines = Translation(read_options(file), read_table()).lines
    assert {line.option: line.says for line in lines if line.verdict.value in ("not there", "unknown")} == {}
    settings = settings_of(tmp_path, config)
    changed = {
        key
        for key in settings.client.__struct_fields__
        if getattr(settings.client, key) != getattr(ClientSection(), key)
    }
    assert changed == {
        "token_hmac_secret_key",
        "concurrency",
        "compression_min_bytes",
        "recovery_max_publication_limit",
    }
    (chat,) = settings.channel.namespaces
    assert float(chat.history_meta_ttl) == 48 * 3600, "0 in a namespace stands for the one of all"
