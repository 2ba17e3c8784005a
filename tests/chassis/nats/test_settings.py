"""Mistakes in the section `nats`: each is reported at the start, with its key, and without any secret."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from services.chassis.nats.settings import NatsSettings
from services.chassis.process.settings import ConfigurationError
from services.metrics.settings import from_environ
from tests.support.certificates import Authority
from tests.support.nats_identities import USER, Identity, Trust
from tests.support.processes import Services

SECRET = "a-password-of-the-tests"


def told(variables: Mapping[str, str]) -> str:
    """The error of the metrics service for FAIRLEAD_NATS_* variables, "" if it accepts them."""
    try:
        from_environ({f"FAIRLEAD_NATS_{key.upper()}": value for key, value in variables.items()})
    except ConfigurationError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("files")
    made = {"ca": Authority(folder).file, "nkey": folder / "nkey", "creds": folder / "creds", "text": folder / "text"}
    made["cert"], made["key"] = Authority(folder, "another").certificate("edge")
    made["other_key"] = Authority(folder, "third").certificate("stranger")[1]
    made["nkey"].write_text(Identity(USER).seed)
    made["creds"].write_text(Trust().creds())
    made["text"].write_text(SECRET)
    made["missing"] = folder / "missing"
    return {name: str(path) for name, path in made.items()}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "http://a:8222"}, 'expected nats.url to begin with nats:// or tls://, got "http://" (8222'),
        ({"url": f"nats://u:{SECRET}/x@a"}, 'expected nats.url to be nats://host:port, .* "/" is %2F'),
        ({"url": "nats://a:99999"}, "the port from 1 to 65535"),
        ({"user": "edge"}, "expected nats.password with nats.user"),
        ({"password": SECRET}, "expected nats.user with nats.password"),
        ({"cert_file": "cert"}, "expected nats.key_file with nats.cert_file"),
        ({"key_file": "key"}, "expected nats.cert_file with nats.key_file"),
        ({"token": SECRET, "nkey_file": "nkey"}, "one way to sign in to NATS, got nats.token and nats.nkey_file"),
        ({"token": SECRET, "credentials_file": "creds"}, "got nats.token and nats.credentials_file"),
        (
            {"url": f"nats://u:{SECRET}@a", "user": "edge", "password": SECRET},
            "got the user in nats.url and nats.user",
        ),
        ({"credentials_file": "missing"}, "nats.credentials_file: .*missing: cannot be read: No such file"),
        ({"nkey_file": "missing"}, "nats.nkey_file: .*missing: cannot be read: No such file"),
        ({"ca_file": "missing"}, "nats.ca_file: .*missing: cannot be read: No such file"),
        ({"cert_file": "missing", "key_file": "key"}, "nats.cert_file: .*missing: cannot be read"),
        ({"cert_file": "cert", "key_file": "missing"}, "nats.key_file: .*missing: cannot be read"),
        ({"credentials_file": "nkey"}, "nats.credentials_file: .*has no NATS USER JWT"),
        ({"nkey_file": "text"}, "nats.nkey_file: .*has no seed of a user"),
        ({"ca_file": "text"}, "nats.ca_file: .*expected certificates in PEM"),
        ({"cert_file": "cert", "key_file": "other_key"}, "nats.key_file: .*its own private key .*key values mismatch"),
        ({"inbox_prefix": "_INBOX.>"}, "nats.inbox_prefix to be a subject without wildcards"),
        ({"inbox_prefix": "a..b"}, "nats.inbox_prefix to be a subject without wildcards"),
        ({"inbox_prefix": "$JS"}, "nats.inbox_prefix to be a subject without wildcards"),
        ({"usr": "edge"}, "unknown variable FAIRLEAD_NATS_USR; did you mean FAIRLEAD_NATS_USER"),
    ],
)
def test_a_mistake_is_told_with_its_key_and_without_what_is_secret(given, said, files):
    text = told({key: files.get(value, value) for key, value in given.items()})
    position = 0
    for part in said.split(".*"):
        assert (position := text.find(part.strip(), position)) >= 0, text
    assert SECRET not in text and "\n" not in text


@pytest.mark.parametrize(
    "given",
    [
        {"url": "nats://a:1,nats://b:1", "user": "edge", "password": SECRET},
        {"url": f"tls://u:{SECRET}@a"},
        {"token": SECRET},
        {"nkey_file": "nkey"},
        {"credentials_file": "creds", "ca_file": "ca"},
        {"cert_file": "cert", "key_file": "key"},
        {"inbox_prefix": "_INBOX"},
        {"inbox_prefix": "replies.edge"},
    ],
)
def test_every_way_to_sign_in_is_taken(given, files):
    assert told({key: files.get(value, value) for key, value in given.items()}) == ""


def test_tls_is_wanted_where_a_setting_asks_for_it(files):
    assert NatsSettings(url="tls://a").wants_tls and NatsSettings(ca_file=files["ca"]).wants_tls
    assert not NatsSettings(user="edge", password=SECRET).wants_tls


async def test_a_process_with_a_mistake_ends_with_one_line_and_not_with_0(tmp_path: Path):
    services = Services(tmp_path)
    try:
        process = services.start("metrics", {"FAIRLEAD_NATS_CREDENTIALS_FILE": "/nowhere/edge.creds"})
        assert await process.wait() == 1
        (line,) = process.log().splitlines()
        assert "nats.credentials_file: /nowhere/edge.creds: cannot be read: No such file or directory" in line
    finally:
        services.close()
