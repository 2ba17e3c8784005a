"""Options of a namespace that would stop the start of an edge are taken out."""

from __future__ import annotations

from services.edge.moving.namespace_rules import adjust


def test_a_history_stays_as_it_is() -> None:
    options = {"history_size": 10, "history_ttl": "60s", "history_meta_ttl": "1h", "force_recovery": True}
    assert adjust(dict(options)) == {}


def test_positions_are_known_at_least_as_long_as_publications() -> None:
    options = {"history_size": 10, "history_ttl": "2h", "history_meta_ttl": "1h"}
    assert list(adjust(options)) == ["history_meta_ttl"] and "history_meta_ttl" not in options
