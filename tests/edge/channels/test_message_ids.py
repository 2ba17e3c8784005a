"""Who shares an idempotency key with whom."""

from __future__ import annotations

from services.edge.channels.message_ids import of_backend, of_client


def test_a_client_s_key_is_its_user_s_and_a_backend_s_is_the_channel_s() -> None:
    ids = [
        of_client("a:x", "alice", "k"),
        of_client("a:x", "bob", "k"),
        of_client("a:y", "alice", "k"),
        of_backend("a:x", "k"),
        of_backend("a:y", "k"),
    ]
    assert len(set(ids)) == len(ids)
    assert of_client("a:x", "alice", "k") == ids[0] and of_backend("a:x", "k") == ids[3]


def test_any_character_may_be_in_a_key_and_none_breaks_the_header() -> None:
    for key in ("line\nbreak", "zoë", "a b", "*", "\0"):
        for made in (of_client("a:x", "u", key), of_backend("a:x", key)):
            assert made.isascii() and made.isprintable() and " " not in made
