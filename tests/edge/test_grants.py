"""Grants as tokens, hooks and backends write them, and as edges tell each other."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Raw

from services.edge.grants import Grant, Override, Switch, Terms, grant_from, json_field, seconds_left

GRANT = Grant(Raw(b'{"a":1}'), Raw(b"[2]"), 7, Override(presence=Switch(value=True), join_leave=Switch(value=False)))


def terms(text: str) -> Terms:
    return msgspec.json.decode(text, type=Terms)


def test_terms_become_a_grant() -> None:
    written = '{"info":{"a":1},"data":[2],"override":{"presence":{"value":true},"join_leave":{}},"other":1}'
    assert grant_from(terms(written), 7) == GRANT
    assert grant_from(terms("{}")) == Grant()
    assert grant_from(terms('{"info":null,"b64info":"","data":null,"override":null}')) == Grant()


def test_the_base64_form_wins() -> None:
    assert grant_from(terms('{"info":1,"b64info":"eyJhIjoxfQ==","b64data":"WzJd"}')) == Grant(GRANT.info, GRANT.data)


@pytest.mark.parametrize("encoded", ["x", "eA==", "!MQ==", "é"])
def test_the_field_that_is_not_json_is_named(encoded: str) -> None:
    with pytest.raises(ValueError, match=r"^b64data is not JSON in base64$"):
        grant_from(Terms(b64data=encoded))
    with pytest.raises(ValueError, match=r"^info is not JSON$"):
        json_field("info", Raw(b"{x"))


@pytest.mark.parametrize("grant", [Grant(), GRANT])
def test_a_grant_survives_the_way_to_another_edge(grant: Grant) -> None:
    assert msgspec.json.decode(msgspec.json.encode(grant), type=Grant) == grant


@pytest.mark.parametrize(
    ("expires_at", "now", "ttl"), [(102, 100.0, 2), (102, 100.01, 2), (102, 101.2, 1), (102, 105.0, 1), (0, 100.0, 0)]
)
def test_a_ttl_is_rounded_up(expires_at: int, now: float, ttl: int) -> None:
    """Rounded down, a token of 2 s would be refreshed each second."""
    assert seconds_left(expires_at, now) == ttl
