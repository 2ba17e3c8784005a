"""The causes that `python -m tests.alerts.run` makes on a real stack are those of the alerts that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.alerts.scenes import CAUSES, SCENES, Scene
from tests.deploy.observe.rules import alerts
from tests.stack.checkout import Checkout

ALERTS = {alert.name for alert in alerts()}

WITHOUT_A_CAUSE = {
    "OutboxLate": "the stack has no application with an outbox; tests/sessions/outbox/test_relay.py reads the series",
    "OutboxRowsSetAside": "the same; tests/sessions/outbox/test_outbox.py has a row refused",
    "SessionFactsOvertaken": "the log would have to be full; tests/sessions/test_service.py cuts it short",
    "ForecastUnavailable": "the last forecast is used for hours before there is none, and the alert waits for an hour",
}
"""Alert -> why nothing makes it fire on a real stack."""


def test_each_alert_has_a_cause() -> None:
    made = {name for cause in CAUSES for name in cause.names}
    assert ALERTS - made == set(WITHOUT_A_CAUSE)


def test_a_cause_names_alerts_that_there_are() -> None:
    named = {alert.partition(" ")[0] for cause in CAUSES for alert in (*cause.measured, *cause.besides)}
    assert named - ALERTS == set()


def test_the_page_says_of_each_alert_when_it_fired() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/observability.md").read_text()
    assert [
        alert for alert in sorted(ALERTS - set(WITHOUT_A_CAUSE)) if not re.search(rf"^\| {alert}\b", page, re.MULTILINE)
    ] == []


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_what_a_scene_changes_in_a_checkout_is_there(scene: Scene, tmp_path: Path) -> None:
    """Texts that it replaces stand where it says."""
    checkout = Checkout(tmp_path / "copy", edges=2)
    for name, old, new in scene.changes:
        checkout.replace(name, old, new)
