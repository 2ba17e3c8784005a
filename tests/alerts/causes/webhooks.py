"""Causes at the receiver of a webhook, to which the stage sends the events of the clients that come and go there."""

from __future__ import annotations

from tests.alerts.cause import Cause
from tests.alerts.stage import Stage

_WEBHOOK = """
[[sessions.webhooks]]
name = "app"
url = "http://127.0.0.1:{port}/events"
secret = "a-webhook-secret-of-the-stage"
"""


def webhook(port: int) -> str:
    """For the end of a configuration: a webhook whose receiver is on this port."""
    return _WEBHOOK.format(port=port)


def _answers(stage: Stage, status: str) -> None:
    assert stage.surroundings.receiver is not None
    stage.surroundings.receiver.status = status


async def _is_not_well(stage: Stage) -> None:
    _answers(stage, "503 Service Unavailable")


async def _refuses(stage: Stage) -> None:
    _answers(stage, "422 Unprocessable Content")


async def _takes_them(stage: Stage) -> None:
    _answers(stage, "204 No Content")


WEBHOOKS = (
    Cause("the receiver of a webhook answers 503", ("WebhookLate",), _is_not_well, _takes_them),
    Cause(
        "the receiver of a webhook refuses its events (422)",
        ("WebhookEventsSetAside",),
        _refuses,
        _takes_them,
        besides=("WebhookLate",),
    ),
)
