from __future__ import annotations

import re
from pathlib import Path

import pytest

from proto import codes
from services.sessions.commands.meanings import ERRORS, meaning
from services.sessions.commands.refusal_meanings import STATUSES, why_refused

EDGE = Path(__file__).resolve().parents[3] / "services/edge"


def test_a_client_without_a_token_is_not_said_to_have_a_bug() -> None:
    for action in ("connect", ""):
        assert "no token and anonymous clients are not allowed" in why_refused(3501, action)
    assert "no user" in why_refused(3507, "connect")
    assert why_refused(codes.INVALID_TOKEN.code, "connect") == meaning(codes.INVALID_TOKEN.code)


def test_every_status_with_which_edges_refuse_has_a_meaning() -> None:
    texts = "".join(path.read_text() for path in (EDGE / "transports").glob("*.py"))
    texts += (EDGE / "framing/handshake.py").read_text() + (EDGE / "connection/door.py").read_text()
    found = {int(status) for status in re.findall(r'(?:Refusal\(|HandshakeRefused\(\s*"|: ")(\d{3})\b', texts)}
    assert {400, 403, 429, 503} <= found <= STATUSES.keys()


def test_a_name_that_the_namespace_does_not_allow_is_not_called_a_bug_of_the_client() -> None:
    for action in ("subscribe", "publish", "history", "presence"):
        assert "channel_regex" in why_refused(codes.BAD_REQUEST.code, action, codes.BAD_REQUEST.message)
    for action in ("", "connect"):
        assert "a channel's name" in why_refused(codes.BAD_REQUEST.code, action)
    told = "the channel's name is not allowed in its namespace (channel_regex)"
    mistake = "a mistake in the client, in a setting, or in a backend's answer"
    assert why_refused(codes.BAD_REQUEST.code, "subscribe", told) == mistake


@pytest.mark.parametrize("action", ["subscribe", "publish", "rpc"])
def test_a_code_of_a_hook_is_the_applications_and_no_status(action: str) -> None:
    assert why_refused(403, action) == why_refused(1000, action) == "a code of the application's own"
    assert why_refused(103, action) == ERRORS[103]


def test_by_code_alone_a_status_may_be_of_the_application() -> None:
    assert "HTTP status, or a code of the application's own" in why_refused(403)
    assert why_refused(403, "handshake") == STATUSES[403]
    assert why_refused(499, "emulate") == "an HTTP status"
    assert why_refused(4100, "connect") == "a code of the application's own"


def test_those_that_no_edge_tells_apart_are_no_unsubscribes() -> None:
    assert why_refused(0, "other") == "of more kinds than an edge tells apart"
