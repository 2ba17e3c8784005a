"""The sections that services may meet are those that some service reads."""

from __future__ import annotations

import msgspec

from services.edge.settings import EdgeSettings
from services.metrics.settings import MetricsSettings
from services.sections import SECTIONS
from services.sessions.settings import SessionsSettings


def test_every_section_is_read_by_some_service_and_every_service_s_is_known() -> None:
    read = {
        field.name
        for settings in (EdgeSettings, SessionsSettings, MetricsSettings)
        for field in msgspec.structs.fields(settings)
    }
    assert read == SECTIONS
