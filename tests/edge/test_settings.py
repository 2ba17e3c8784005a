"""The edge's settings: required ones, those that must agree, and Centrifugo's names for them."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from services.chassis.process.settings import Duration, Rate
from tests.edge.read_settings import SECRET, read, refusal
from tests.edge.signers import signer


def test_with_a_secret_the_defaults_are_usable(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert (settings.edge.host, settings.edge.port) == ("127.0.0.1", 8101)
    assert (settings.client.ping_interval, settings.client.pong_timeout) == (Duration(25), Duration(8))
    assert (settings.client.channel_limit, settings.client.channel_max_length) == (128, 255)
    assert settings.client.message_size_limit == 65536
    assert not settings.client.insecure
    assert settings.client.allowed_origins == []


def test_an_edge_has_the_name_of_its_host(tmp_path: Path) -> None:
    """A hundred pods are a hundred edges, also those of one host, and whoever has named an edge has named it."""
    host = socket.gethostname()
    assert read(tmp_path).name == host
    assert read(tmp_path, "[edge]\nport = 8102").name == f"{host}:8102"
    assert read(tmp_path, "[edge]\nport = 8102\nname = 'west'").name == "west"


def test_a_drain_may_take_longer_than_its_default(tmp_path: Path) -> None:
    assert read(tmp_path).edge.drain_timeout < 10
    assert read(tmp_path, "[edge]\ndrain_timeout = '5m'").edge.drain_timeout == Duration(300)


class TestRoomForSubscriptions:
    """A client that reconnects sends connect and all its subscriptions in one message."""

    def test_limits_that_are_not_set_follow_the_limit_of_channels(self, tmp_path: Path) -> None:
        client = read(tmp_path, "[client]\nchannel_limit = 2000").client
        assert client.commands_per_message == 2001
        assert client.queued_commands_limit == 4002
        assert client.message_size_limit == 2000 * 512

    def test_few_channels_lower_none(self, tmp_path: Path) -> None:
        client = read(tmp_path, "[client]\nchannel_limit = 1").client
        assert (client.commands_per_message, client.queued_commands_limit) == (256, 1024)
        assert client.message_size_limit == 65536

    @pytest.mark.parametrize(
        ("limits", "key", "least"),
        [
            ("channel_limit = 256\ncommands_per_message = 256", "commands_per_message", 257),
            ("channel_limit = 1024\nqueued_commands_limit = 1024", "queued_commands_limit", 1025),
            ("message_size_limit = 65535", "message_size_limit", 65536),
        ],
    )
    def test_limits_with_which_a_client_could_not_reconnect_are_refused(
        self, tmp_path: Path, limits: str, key: str, least: int
    ) -> None:
        said = refusal(tmp_path, f"[client]\n{limits}")
        assert said.startswith(f"client.{key}: expected at least {least} with client.channel_limit = ")
        assert "lower client.channel_limit" in said


def test_limits_of_the_edge_and_of_a_namespace(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
        [limits]
        commands = "100/s"
        user_commands = 0
        address_connections = 50
        [[channel.namespaces]]
        name = "chat"
        publish_rate_limit = "5/s"
        """,
        SECRET | {"FAIRLEAD_LIMITS_PUBLISHES": "7/10s"},
    )
    assert settings.limits.commands == Rate(100, 1) and settings.limits.publishes == Rate(7, 10)
    assert not settings.limits.user_commands and settings.limits.address_connections == 50
    assert settings.channel.namespaces[0].publish_rate_limit == Rate(5, 1)


def test_every_limit_is_set_unless_it_is_switched_off(tmp_path: Path) -> None:
    """But the number of connections, which file descriptors bound."""
    limits = msgspec.structs.asdict(read(tmp_path).limits)
    assert [name for name, value in limits.items() if not value] == ["connections"]


def test_without_a_secret_it_does_not_start(tmp_path: Path) -> None:
    said = refusal(tmp_path, environ={})
    assert "client.token_hmac_secret_key is missing" in said
    assert "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY" in said


@pytest.mark.parametrize("door", ["insecure", "allow_anonymous_connect_without_token", "connect_hook"])
def test_where_anybody_may_connect_no_secret_is_needed(tmp_path: Path, door: str) -> None:
    assert read(tmp_path, f"[client]\n{door} = true", {}).client.token_hmac_secret_key == ""


def test_a_secret_that_can_be_guessed_is_refused_without_telling_it(tmp_path: Path) -> None:
    said = refusal(tmp_path, environ={"FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": "hunter2"})
    assert said == "client.token_hmac_secret_key: expected at least 16 characters, got 7"


PEM = signer("ES256").pem


@pytest.mark.parametrize(
    "source",
    [
        f'token_ecdsa_public_key = """{PEM}"""',
        f'[[client.token_keys]]\nalgorithm = "ES256"\nkid = "k"\npublic_key = """{PEM}"""',
        "token_jwks_public_endpoint = 'https://id.example.com/keys'",
    ],
    ids=["public key", "list", "endpoint"],
)
def test_any_source_of_keys_will_do(tmp_path: Path, source: str) -> None:
    assert read(tmp_path, f"[client]\n{source}", {}).client.token_hmac_secret_key == ""


def test_a_public_key_in_a_variable(tmp_path: Path) -> None:
    environ = {"FAIRLEAD_CLIENT_TOKEN_ECDSA_PUBLIC_KEY": PEM.replace("\n", "\\n")}
    assert read(tmp_path, environ=environ).client.token_ecdsa_public_key


def test_a_listed_secret_that_can_be_guessed_is_refused_without_telling_it(tmp_path: Path) -> None:
    said = refusal(tmp_path, "[[client.token_keys]]\nalgorithm = 'HS256'\nsecret = 'hunter2'")
    assert said == "client.token_keys[0].secret: expected at least 16 characters, got 7"


def test_a_key_that_cannot_be_used_is_refused_at_the_start_without_telling_it(tmp_path: Path) -> None:
    said = refusal(tmp_path, "[client]\ntoken_rsa_public_key = 'hunter2'")
    assert said.startswith("client.token_rsa_public_key: expected a public key in PEM form")
    assert "hunter2" not in said


def test_keys_are_read_anew_every_ten_minutes(tmp_path: Path) -> None:
    assert read(tmp_path).client.token_jwks_refresh == Duration(600)


def test_clients_bear_the_option_names_of_the_reference(tmp_path: Path) -> None:
    text = """
        [client]
        transports = ["websocket", "http_stream", "sse", "uni_websocket", "uni_http_stream", "uni_sse"]
        user_connection_limit = 3
        disallow_anonymous_connection_tokens = true
        subscribe_to_user_personal_channel = true
        user_personal_channel_namespace = "mine"
        recovery_max_publication_limit = 300
        [[channel.namespaces]]
        name = "mine"
    """
    client = read(tmp_path, text).client
    assert (client.user_connection_limit, client.user_personal_channel_namespace) == (3, "mine")


UNI = "[client]\nconnect_code_to_unidirectional_disconnect = [{"
NAMESPACE = "[[channel.namespaces]]\nname = 'chat'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[client]\nping_intervall = 1", "unknown key client.ping_intervall; did you mean ping_interval?"),
        ("[client]\nping_interval = 25\npong_timeout = 25", "client.pong_timeout to be shorter than"),
        ("[client]\nping_interval = 0.5\npong_timeout = 0.1", "expected client.ping_interval of at least 1 s, or 0"),
        ("[client]\nping_interval = inf", "client.ping_interval: expected a duration"),
        ("[client]\nchannel_limit = 0", "client.channel_limit: expected a whole number of at least 1"),
        ("[client]\ntoken_jwks_public_endpoint = 'id.example.com/keys'", "to be an address such as https://host/path"),
        ("[client]\ntoken_jwks_public_endpoint = 'file:///etc/passwd'", "to be an address such as https://host/path"),
        ("[client]\ntoken_jwks_public_endpoint = 'https:///keys'", "to be an address such as https://host/path"),
        ("[client]\ntoken_jwks_public_endpoint = 'https://host:99999/'", "to be an address such as https://host/path"),
        ("[client]\ntoken_jwks_public_endpoint = 'https://[bad/'", "to be an address such as https://host/path"),
        ("[client]\ntoken_jwks_refresh = 0", "expected client.token_jwks_refresh of at least 1 s"),
        ("[[client.token_keys]]\nkid = 'k'", "client.token_keys[0].algorithm is missing"),
        ("[[client.token_keys]]\nalgorithm = 'HS256'\nkey = 'x'", "unknown key client.token_keys[0].key"),
        ("[client]\nallowed_origins = '*'", "client.allowed_origins: expected a list, got text"),
        ("[edge]\ndrain_timeout = '2h'", "expected edge.drain_timeout of at most 3600 s"),
        ("[edge]\ndrain_timeout = 1\ndrain_delay = 1", "expected edge.drain_delay to be shorter than"),
        ("[channel]\nhistory_partitions = 0", "channel.history_partitions: expected a whole number of at least 1"),
        (NAMESPACE + "histroy_size = 1", 'channel.namespaces[0] ("chat").histroy_size; did you mean history_size?'),
        (NAMESPACE + "history_size = 1", 'channel.namespaces[0] ("chat"): expected history_size and history_ttl to be'),
        (NAMESPACE + "history_ttl = 1", 'channel.namespaces[0] ("chat"): expected history_size and history_ttl to be'),
        (NAMESPACE + "history_size = 1\nhistory_ttl = 0.5", "expected history_ttl of at least 1 s"),
        (NAMESPACE + "force_recovery = true", "expected history_size and history_ttl, without which nothing can be"),
        (NAMESPACE + "allow_positioning = true", "expected history_size and history_ttl, without which nothing can be"),
        (NAMESPACE + "slow_client = 'wait'", 'expected slow_client "disconnect" or "drop"'),
        (NAMESPACE + "channel_regex = '['", "expected channel_regex to be a regular expression"),
        (NAMESPACE + "publication_data_format = 'xml'", 'data_format "", "binary", "json" or "json_object"'),
        ("[client]\nsession_event_details = ['cookie']", "client.session_event_details from address, transport"),
        (NAMESPACE + "force_recovery_mode = 'map'", 'expected force_recovery_mode "stream" or "cache"'),
        (NAMESPACE + "allowed_delta_types = ['xdelta']", 'expected allowed_delta_types to be [] or ["fossil"]'),
        (NAMESPACE + "allowed_delta_types = ['fossil']", "which allowed_delta_types and auto_cache_recover need"),
        (NAMESPACE + "auto_cache_recover = true", "which allowed_delta_types and auto_cache_recover need"),
        (NAMESPACE + "hook_timeout = 5", "expected hook_timeout below 4.5 s"),
        (NAMESPACE + "hook_timeout = 0", "expected hook_timeout below 4.5 s"),
        (NAMESPACE + "hook_when_away = 'no'", 'expected hook_when_away "refuse" or "allow"'),
        ("[client]\nhook_timeout = 5", "expected client.hook_timeout below 4.5 s"),
        (UNI + "code = 404, to = {code = 400, reason = 'x'}}]", "code: expected a whole number of at least 3001"),
        (UNI + "code = 404, to = {code = 4904, reason = '1'}}]", "expected a usable reason"),
        (
            UNI + "code = 404, to = {code = 4904, reason = 'x'}}, {code = 404, to = {code = 4905, reason = 'x'}}]",
            "expected each code once in client.connect_code_to_unidirectional_disconnect",
        ),
        ("[client]\nhook_when_away = true", "client.hook_when_away: expected text, got true or false"),
        ("[client]\nhook_when_away = 'no'", 'expected client.hook_when_away "refuse" or "allow"'),
        ("[client]\nrpc_timeout = 4.5", "expected client.rpc_timeout below 4.5 s"),
        ("[client]\ntransports = ['grpc']", "expected client.transports from websocket, http_stream, sse"),
        ("[client]\nuser_connection_limit = -1", "client.user_connection_limit: expected a whole number of at least 0"),
        ("[client]\nchannel_max_length = 321", "client.channel_max_length: expected a whole number of at most 320"),
        (NAMESPACE * 2, 'expected each namespace once, "chat" appears twice'),
        ("[[channel.namespaces]]\nname = 'x'", 'channel.namespaces[0] ("x").name: expected 2 to 64 letters, digits'),
        ("[[channel.namespaces]]\nname = 'a:b'", 'channel.namespaces[0] ("a:b").name: expected 2 to 64 letters'),
        ("[[channel.namespaces]]\nname = \"ab\\n\"", "expected 2 to 64 letters, digits"),
        ("[[channel.namespaces]]\nhistory_size = 1", "channel.namespaces[0].name is missing"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    answer = refusal(tmp_path, text)
    assert answer.startswith("fairlead.toml")
    assert said in answer


def test_an_origin_that_no_page_has_is_named_with_what_to_write(tmp_path: Path) -> None:
    said = refusal(tmp_path, "[client]\nallowed_origins = ['*', 'https://example.com/']")
    assert said.startswith('client.allowed_origins[1]: no browser sends an origin that matches "https://example.com/"')
    assert said.endswith('expected "https://example.com"')


def test_pings_can_be_switched_off(tmp_path: Path) -> None:
    assert read(tmp_path, "[client]\nping_interval = 0").client.ping_interval == Duration(0)


def test_a_personal_channel_needs_its_namespace(tmp_path: Path) -> None:
    said = refusal(
        tmp_path, '[client]\nsubscribe_to_user_personal_channel = true\nuser_personal_channel_namespace = "mine"\n'
    )
    expected = 'expected the name of a namespace, there is no "mine"'
    assert said.startswith(f"client.user_personal_channel_namespace: {expected}")


class TestAnEdgeByItself:
    """`edge.broker = "memory"` has no backends: settings that need one are refused at the start."""

    def test_it_is_a_setting(self, tmp_path: Path) -> None:
        assert read(tmp_path).edge.broker == "nats"
        assert read(tmp_path, '[edge]\nbroker = "memory"\n').edge.broker == "memory"
        assert 'expected edge.broker "nats" or "memory"' in refusal(tmp_path, '[edge]\nbroker = "redis"\n')

    @pytest.mark.parametrize(
        ("text", "setting"),
        [
            ("[client]\nconnect_hook = true\n", "client.connect_hook"),
            ("[client]\nrefresh_hook = true\n", "client.refresh_hook"),
            ("[client]\nallow_send = true\n", "client.allow_send"),
            ("[channel.without_namespace]\nsubscribe_hook = true\n", "channel.without_namespace: subscribe_hook"),
            (
                '[[channel.namespaces]]\nname = "chat"\npublish_hook = true\n',
                'channel.namespaces, "chat": publish_hook',
            ),
        ],
    )
    def test_settings_that_ask_a_backend_are_refused(self, tmp_path: Path, text: str, setting: str) -> None:
        read(tmp_path, text)
        said = refusal(tmp_path, f'{text}[edge]\nbroker = "memory"\n')
        assert said.startswith(f'{setting}: expected false with edge.broker = "memory"')


class TestProxies:
    def test_what_is_no_network_is_refused(self, tmp_path: Path) -> None:
        said = refusal(tmp_path, "[edge]\ntrusted_proxies = ['traefik']")
        assert said == "edge.trusted_proxies: expected an address or a network such as 10.0.0.0/8, got 'traefik'"

    @pytest.mark.parametrize("missing", ["client_port = 8151", "trusted_proxies = ['10.0.0.1']"])
    def test_the_proxy_protocol_is_of_the_port_for_clients_and_of_trusted_proxies(
        self, tmp_path: Path, missing: str
    ) -> None:
        said = refusal(tmp_path, f"[edge]\nproxy_protocol = true\n{missing}")
        assert "expected edge.client_port and edge.trusted_proxies with edge.proxy_protocol" in said

    def test_a_proxy_that_says_who_the_user_is_must_be_named(self, tmp_path: Path) -> None:
        text = "[client]\nuser_id_http_header = 'X-Auth-User'\n"
        assert refusal(tmp_path, text, {}).startswith("client.user_id_http_header: expected edge.trusted_proxies")
        settings = read(tmp_path, f"{text}[edge]\ntrusted_proxies = ['10.0.0.1']", {})  # and no key for tokens
        assert settings.client.user_id_http_header == "X-Auth-User"

    def test_a_backend_does_not_take_the_user_s_name_from_a_connect_command(self, tmp_path: Path) -> None:
        text = "[client]\nuser_id_http_header = 'X-Auth-User'\n[edge]\ntrusted_proxies = ['10.0.0.1']\n"
        backend = "[[backends]]\nname = 'app'\nurl = 'http://app.example'\nemulated_headers = ['x-auth-user']"
        assert "any client could name any user there" in refusal(tmp_path, text + backend, {})

    def test_a_header_has_a_name(self, tmp_path: Path) -> None:
        assert "to be the name of a header" in refusal(tmp_path, "[client]\nuser_id_http_header = 'X Auth'")
