"""The tables `[[sessions.webhooks]]`."""

from __future__ import annotations

import pytest

from services.chassis.process.settings import ConfigurationError
from services.sessions.settings import from_environ
from tests.sessions.webhooks.receiver import SECRET, toml

URL = "https://app.example.com/fairlead"


def load(tmp_path, text: str):
    path = tmp_path / "fairlead.toml"
    path.write_text(text)
    return from_environ({"FAIRLEAD_CONFIG": str(path), "FAIRLEAD_POSTGRES_URL": "postgresql://x"}).sessions.webhooks


def test_a_webhook_needs_a_name_an_address_and_a_secret_which_may_be_in_a_file(tmp_path):
    (tmp_path / "secret").write_text(SECRET + "\n")
    text = f'[[sessions.webhooks]]\nname = "app"\nurl = "{URL}"\nsecret_file = "{tmp_path}/secret"\n'
    (only,) = load(tmp_path, text)
    assert only.secret == SECRET and "vacated" in only.wanted
    (only,) = load(tmp_path, toml(URL, events=["connected"]))
    assert only.wanted == {"connected"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (toml("ftp://x"), 'sessions.webhooks[0] ("app"): expected url to be an address'),
        (toml("https://user:word@app.example.com/"), "without a user"),
        (toml(URL, name="a b"), "expected a name"),
        (toml(URL, ca_file="/nowhere.pem"), "ca_file: /nowhere.pem: expected certificates in PEM: No such file"),
        (toml(URL, secret="short"), "expected secret of at least 16 characters"),
        (toml(URL, events=["conected"]), "not 'conected'"),
        (toml(URL, timeout="2m"), "at most 60 s"),
        (toml(URL, max_events=0), "max_events"),
        (toml(URL) + toml(URL), "'app' is there twice"),
        ("".join(toml(URL, f"app-{number}") for number in range(17)), "at most 16"),
    ],
)
def test_a_mistake_is_said_at_the_start(tmp_path, text: str, expected: str):
    with pytest.raises(ConfigurationError) as error:
        load(tmp_path, text)
    assert expected in str(error.value) and "short" not in str(error.value).replace("at least", "")
