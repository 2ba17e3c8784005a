"""Configurations as they are met: an edge takes what each becomes, and means the same by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.chassis.process.settings import ConfigurationError
from services.edge.cautions import cautions
from services.edge.configuration import from_environ
from services.edge.moving.centrifugo_file import read_options
from services.edge.moving.option_table import read_table
from services.edge.moving.toml_text import toml_text
from services.edge.moving.translation import Translation
from services.edge.settings import EdgeSettings

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
        tmp_path, config, FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY=SECRET, FAIRLEAD_HTTP_API_KEY="key of the backends"
    )
    assert (
        float(settings.channel.namespaces[0].history_ttl) == 720 * 3600
        and settings.channel.namespaces[0].force_positioning
    )
    assert settings.channel.without_namespace.has_history and settings.client.allowed_origins == ["*"]


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
