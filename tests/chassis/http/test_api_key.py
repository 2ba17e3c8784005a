"""The API keys in each form of a request, what their scopes reach, and which the configuration may have."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import Struct
from starlette.requests import Request

from services.chassis.http.api_key import ApiKeys, Refusal, reaches
from services.chassis.process.api_keys import ALL, PUBLISH, READ, ApiKey, HttpApiSettings
from services.chassis.process.settings import ConfigurationError, load

BILLING = ApiKey(name="billing", key="for billing", scope=PUBLISH)
SUPPORT = ApiKey(name="support", key="for support", scope=READ)
KEYS = ApiKeys(HttpApiSettings("key", [BILLING, SUPPORT]))


def request(headers: dict[str, str], query: str = "") -> Request:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": query.encode()})


@pytest.mark.parametrize(
    ("headers", "query", "name"),
    [
        ({"X-API-Key": "key"}, "", "http_api.key"),
        ({"Authorization": "apikey key"}, "", "http_api.key"),
        ({"Authorization": "ApiKey  key"}, "", "http_api.key"),
        ({}, "api_key=key", "http_api.key"),
        ({"X-API-Key": "for billing"}, "", "billing"),
        ({"Authorization": "apikey for support"}, "", "support"),
        ({}, "", ""),
        ({"X-API-Key": "wrong"}, "api_key=key", ""),
        ({"X-API-Key": "kéy"}, "", ""),
        ({"X-API-Key": "for"}, "", ""),
        ({"Authorization": "Bearer key"}, "", ""),
        ({"Authorization": "key"}, "", ""),
    ],
)
def test_whose_key_a_request_has(headers: dict[str, str], query: str, name: str) -> None:
    found = KEYS.of(request(headers, query))
    assert (found.status if isinstance(found, Refusal) else found.name) == (name or 401)


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": ""}, {"Authorization": "apikey "}])
def test_no_key_configured_is_nobody(headers: dict[str, str]) -> None:
    why = "no API key is configured (http_api.key), so every call is refused"
    assert ApiKeys(HttpApiSettings()).of(request(headers)) == (401, why)


def test_the_refusal_names_the_header() -> None:
    assert "X-API-Key" in str(KEYS.of(request({})))


def test_keys_are_replaced_at_once() -> None:
    keys = ApiKeys(HttpApiSettings("old"))
    keys.replace(HttpApiSettings("new"))
    assert isinstance(keys.of(request({"X-API-Key": "old"})), Refusal)
    assert keys.of(request({"X-API-Key": "new"})) == ApiKey(name="http_api.key", key="new")


@pytest.mark.parametrize(("key", "reached"), [(BILLING, {PUBLISH}), (SUPPORT, {READ})])
def test_a_scope_reaches_no_other_and_all_reaches_every_one(key: ApiKey, reached: set[str]) -> None:
    scopes = (ALL, PUBLISH, READ)
    assert {scope for scope in scopes if reaches(key, scope, "it") is None} == reached
    assert all(reaches(ApiKey(name="ops", key="k"), scope, "it") is None for scope in scopes)


def test_whoever_may_not_is_told_which_key_it_needs_and_not_the_key() -> None:
    assert reaches(BILLING, READ, "history") == (
        403,
        'history needs an API key of the scope "read" or "all"; that of "billing" is "publish"',
    )
    assert reaches(SUPPORT, ALL, "disconnect") == (
        403,
        'disconnect needs an API key of the scope "all"; that of "support" is "read"',
    )


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    http_api: HttpApiSettings = HttpApiSettings()


def test_keys_in_the_configuration_may_be_in_files(tmp_path: Path) -> None:
    secret, file = tmp_path / "key", tmp_path / "house.toml"
    secret.write_text("hidden\n")
    file.write_text(f'[[http_api.keys]]\nname = "a"\nkey_file = "{secret}"\nscope = "read"\n')
    settings = load(Settings, {"FAIRLEAD_CONFIG": str(file)}, {"http_api"})
    assert settings.http_api.keys == [ApiKey(name="a", key="hidden", scope=READ)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[http_api.keys]]\nkey = 'hidden'", "http_api.keys[0].name is missing"),
        ("[[http_api.keys]]\nname = 'a'", 'http_api.keys[0] ("a").key is missing'),
        ("[[http_api.keys]]\nname = 'a'\nkey = ''", 'http_api.keys[0] ("a"): expected key not to be empty'),
        ("[[http_api.keys]]\nname = 'a'\nkey = 'hiddené'", 'http_api.keys[0] ("a"): expected key in printable ASCII'),
        ("[http_api]\nkey = ' hidden'", "without a space or a line break at either end"),
        ('[http_api]\nkey = "hidden\\n"', "without a space or a line break at either end"),
        ("[[http_api.keys]]\nname = 'a b'\nkey = 'hidden'", "http_api.keys[0].name"),
        (
            "[[http_api.keys]]\nname = 'a'\nkey = 'hidden'\nscope = 'write'",
            'expected scope "all", "publish", "read" or "privacy"',
        ),
        (
            "[[http_api.keys]]\nname = 'a'\nkey = 'hidden'\n[[http_api.keys]]\nname = 'a'\nkey = 'hidden 2'",
            'expected each name of http_api.keys once, "a" appears twice',
        ),
        (
            "[http_api]\nkey = 'hidden'\n[[http_api.keys]]\nname = 'a'\nkey = 'hidden'",
            'expected each API key once, that of "http_api.key" appears twice',
        ),
    ],
)
def test_mistakes_are_named_without_a_key(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "house.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        load(Settings, {"FAIRLEAD_CONFIG": str(file)}, {"http_api"})
    assert said in str(refused.value).replace(' ("a b")', "") and "hidden" not in str(refused.value)


def test_a_key_that_is_missing_and_one_that_is_wrong_are_told_apart() -> None:
    keys = ApiKeys(HttpApiSettings(key="a-key"))
    none, wrong = keys.of(request({})), keys.of(request({"x-api-key": "another-key"}))
    assert isinstance(none, Refusal) and isinstance(wrong, Refusal)
    assert none.why.startswith("expected the API key as header X-API-Key")
    assert (
        wrong.why.startswith("the API key that was sent is not in the configuration") and "another-key" not in wrong.why
    )
