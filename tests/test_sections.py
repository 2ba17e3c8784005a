"""The sections that services may meet are those that some service reads."""

from __future__ import annotations

import msgspec

from services.chassis.process.secret_files import is_secret
from services.edge.settings import EdgeSettings
from services.metrics.settings import MetricsSettings
from services.sections import SECTIONS
from services.sessions.settings import SessionsSettings
from tests.support.settings_tables import tables_of


def test_every_section_is_read_by_some_service_and_every_service_s_is_known() -> None:
    read = {
        field.name
        for settings in (EdgeSettings, SessionsSettings, MetricsSettings)
        for field in msgspec.structs.fields(settings)
    }
    assert read == SECTIONS


def test_every_secret_may_be_in_a_file_of_its_own() -> None:
    secrets = {
        f"{name}.{key.name}"
        for settings in (EdgeSettings, SessionsSettings, MetricsSettings)
        for name, section in tables_of(settings).items()
        for key in msgspec.structs.fields(section)
        if is_secret(key.type)
    }
    assert secrets == {
        "backends.password",
        "backends.secret",
        "backends.token",
        "client.session_address_key",
        "client.token_hmac_secret_key",
        "client.subscription_token_hmac_secret_key",
        "http_api.key",
        "nats.password",
        "nats.token",
        "nats.url",
        "outbox.url",
        "postgres.url",
        "privacy.nats_password",
    }
