"""The tables `backends` and the section `rpc`: what is taken, and what is told to be a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.edge.backend_settings import BackendSettings
from tests.edge.read_settings import SECRET, read, refusal

APP = '[[backends]]\nname = "app"\nurl = "http://127.0.0.1:3000/realtime/{event}"\n'


def test_backends_are_chosen_by_event_namespace_and_method(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        APP
        + """timeout = "300ms"
http_headers = ["Cookie"]
static_headers = {X-Key = "k"}
status_to_code_transforms = [{status_code = 404, to_error = {code = 404, message = "not found"}}]
[[backends]]
name = "shop"
url = "https://shop.example.com/x"
[client]
connect_hook = true
connect_backend = "app"
refresh_hook = true
[[channel.namespaces]]
name = "chat"
subscribe_hook = true
subscribe_backend = "shop"
publish_hook = true
publish_backend = "app"
[rpc]
backend = "app"
namespaces = [{name = "orders", backend = "shop"}]
""",
    )
    app, shop = settings.backends
    assert (app.timeout, app.http_headers, app.static_headers) == (0.3, ["Cookie"], {"X-Key": "k"})
    assert shop == BackendSettings(name="shop", url="https://shop.example.com/x")
    assert (settings.client.connect_backend, settings.client.refresh_backend) == ("app", "nats")
    (chat,) = settings.channel.namespaces
    assert (chat.subscribe_backend, chat.publish_backend) == ("shop", "app")
    assert (settings.rpc.backend, settings.rpc.namespaces[0].backend) == ("app", "shop")


def test_a_secret_of_a_backend_may_be_in_a_file_and_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret of sixteen or more\n")
    (app,) = read(tmp_path, f'{APP}secret_file = "{tmp_path}/secret"').backends
    assert app.secret == "a secret of sixteen or more"
    said = refusal(tmp_path, APP + 'secret = "too short"')
    assert said == 'fairlead.toml: backends[0] ("app"): expected secret of at least 16 characters'


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('url = "ftp://127.0.0.1/"', "expected url to be an address such as"),
        ('url = "http://user:password@127.0.0.1/"', "without a user (a key of the backend belongs in static_headers)"),
        ('url = "/realtime"', "expected url to be an address such as"),
        ('url = "nats://127.0.0.1:x"', "expected url to be nats://host:port"),
        ('url = "nats://a b"', "expected url to have no spaces"),
        (
            'url = "nats://alice:secret@127.0.0.1"',
            "expected url without a user: user and password are options of their own",
        ),
        ('url = "nats://127.0.0.1/{event}"', "expected url without {event}: on NATS, the subject has the event"),
        (
            'url = "nats://"\nuser = "u"\npassword = "p"',
            'expected no user with url = "nats://": the options of [nats] hold',
        ),
        ('url = "nats://"\nca_file = "/x.pem"', 'expected no ca_file with url = "nats://": the options of [nats] hold'),
        ('url = "nats://127.0.0.1"\nuser = "u"', "expected password with user: set both, or neither"),
        ('url = "nats://127.0.0.1"\nnkey_file = "/nowhere"', "nkey_file: /nowhere: "),
        ('url = "nats://127.0.0.1"\nmax_in_flight = 7', "expected no max_in_flight with a backend on NATS"),
        ('url = "nats://"\nstatic_headers = {fairlead-user = "x"}', "static_headers without fairlead-user: on NATS"),
        ('url = "nats://"\nemulated_headers = ["Nats-Msg-Id"]', "emulated_headers without Nats-Msg-Id: on NATS"),
        ('token = "t"', "expected no token with a backend over HTTP: its key belongs in static_headers"),
        ('timeout = "5s"', "expected timeout below 4.5 s"),
        ('http_headers = ["Cookie: x"]', "expected http_headers to be names of headers, got 'Cookie: x'"),
        ('emulated_headers = ["Content-Length"]', "emulated_headers without Content-Length, which only the edge sets"),
        ('emulated_headers = ["x-real-ip"]', "emulated_headers without x-real-ip, by which proxies say whose request"),
        ('static_headers = {Fairlead-Signature = "t=1"}', "static_headers without Fairlead-Signature"),
        ('static_headers = {X-Key = "a\\nb"}', "expected the values of static_headers in printable ASCII"),
        (
            'http_headers = ["x-key"]\nstatic_headers = {X-Key = "k"}',
            "expected x-key either in static_headers or among",
        ),
        ('cert_file = "x.pem"', "expected cert_file and key_file to be both set or both empty"),
        ('ca_file = "/nowhere.pem"', "ca_file: /nowhere.pem: expected certificates in PEM: No such file"),
        ("max_in_flight = 0", "expected a whole number of at least 1, got 0"),
        ('name = "nats"', 'expected another name than "nats"'),
        ("status_to_code_transforms = [{status_code = 404}]", "expected one of to_error and to_disconnect"),
        (
            "status_to_code_transforms = [{status_code = 404, to_disconnect = {code = 4000, reason = '1'}}]",
            "expected a usable reason",
        ),
        ("urls = 1", 'unknown key backends[0] ("app").urls; did you mean url?'),
    ],
)
def test_each_mistake_is_told_with_its_place(tmp_path: Path, line: str, why: str) -> None:
    key = line.partition(" ")[0]
    said = refusal(tmp_path, "".join(row + "\n" for row in APP.splitlines() if not row.startswith(f"{key} ")) + line)
    assert why in said and said.startswith("fairlead.toml: "), said


def test_a_backend_may_be_on_the_edge_s_own_nats_and_on_another_one(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    own, other = read(
        tmp_path,
        f"""[[backends]]
name = "own"
url = "nats://"
http_headers = ["Cookie"]
[[backends]]
name = "other"
url = "tls://a.example.com:4222,tls://b.example.com"
user = "edge"
password_file = "{tmp_path}/password"
""",
    ).backends
    assert own.on_nats and own.other_nats is None
    there = other.other_nats
    assert there is not None and there.wants_tls and (there.user, there.password) == ("edge", "secret")
    assert there.servers.addresses == ["a.example.com:4222", "b.example.com:4222"]
    (http,) = read(tmp_path, APP).backends
    assert not http.on_nats and http.other_nats is None


def test_a_backend_without_an_address_and_one_that_is_no_list(tmp_path: Path) -> None:
    assert "url is missing" in refusal(tmp_path, '[[backends]]\nname = "app"')
    assert "backends: expected a list, got a table" in refusal(tmp_path, '[backends]\nname = "app"')


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (APP + APP, 'backends: expected each name once, "app" appears twice'),
        (
            '[client]\nconnect_hook = true\nconnect_backend = "ap"\n' + APP,
            "client.connect_backend: expected \"nats\" or the name of one of backends, got 'ap': there are app",
        ),
        (
            '[client]\nrefresh_backend = "app"\n' + APP,
            "client.refresh_backend: expected refresh_hook = true with it, without which the backend is not asked",
        ),
        (
            '[[channel.namespaces]]\nname = "chat"\npublish_hook = true\npublish_backend = "app"',
            'channel.namespaces, "chat": publish_backend: expected "nats" or the name of one of backends, got \'app\', '
            "of which there are none",
        ),
        ('[rpc]\nbackend = "app"', "[rpc] backend: expected"),
        ('[rpc]\nnamespaces = [{name = "aa", backend = "app"}]', '[rpc] namespaces, "aa": backend: expected'),
    ],
)
def test_a_backend_that_does_not_exist_or_is_never_asked_is_a_mistake(tmp_path: Path, text: str, why: str) -> None:
    assert why in refusal(tmp_path, text)


def test_an_edge_by_itself_may_have_backends_over_http_and_none_on_nats(tmp_path: Path) -> None:
    memory = '[edge]\nbroker = "memory"\n'
    settings = read(tmp_path, f'{memory}[client]\nconnect_hook = true\nconnect_backend = "app"\n{APP}')
    assert settings.client.connect_backend == "app"
    said = refusal(tmp_path, f"{memory}[client]\nconnect_hook = true\n{APP}", SECRET)
    assert "client.connect_hook: expected false with edge.broker" in said and "with one of backends" in said
    said = refusal(tmp_path, f'{memory}[[backends]]\nname = "app"\nurl = "nats://"\n')
    assert 'backends, "app": url: expected "nats://host:port" with edge.broker = "memory"' in said
    assert read(tmp_path, f'{memory}[[backends]]\nname = "app"\nurl = "nats://127.0.0.1"\n').backends[0].on_nats
