"""What is wrong with a body is said in plain words."""

from __future__ import annotations

import pytest

from services.sessions.privacy.bodies import BadBody, EraseCall, ExportCall, read_call


def test_a_call_has_what_its_body_says() -> None:
    assert read_call(b'{"user": "ann"}', ExportCall) == ExportCall("ann")
    assert read_call(b'{"user": "ann"}', EraseCall) == EraseCall("ann", dry_run=False, disconnect=False)
    assert read_call(b'{"dry_run": true, "user": "ann"}', EraseCall) == EraseCall("ann", dry_run=True)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", 'expected a JSON object, such as {"user": "ann"}'),
        (b"{", 'expected a JSON object, such as {"user": "ann"}'),
        (b"\xff", 'expected a JSON object, such as {"user": "ann"}'),
        (b"[" * 60_000, 'expected a JSON object, such as {"user": "ann"}'),
        (b'["ann"]', 'expected a JSON object, such as {"user": "ann"}'),
        (b"{}", "expected a user id as `user`"),
        (b'{"user": 1}', "expected text as `user`"),
        (b'{"user": null}', "expected text as `user`"),
        (b'{"user": "a", "dry_run": "yes"}', "expected true or false as `dry_run`"),
        (b'{"user": "a", "dry_run": 1}', "expected true or false as `dry_run`"),
        (b'{"user": "a", "x": 1}', 'unknown field "x", expected `user`, `dry_run`, `disconnect`'),
    ],
)
def test_another_body_is_told_what_is_expected(body: bytes, says: str) -> None:
    with pytest.raises(BadBody) as refused:
        read_call(body, EraseCall)
    assert str(refused.value) == says
