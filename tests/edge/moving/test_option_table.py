"""The table of options: nothing in it is misspelt, neither on Centrifugo's side nor on ours."""

from __future__ import annotations

from services.edge.moving.centrifugo_file import read_options
from services.edge.moving.edge_keys import kind_of
from services.edge.moving.option_table import Kept, read_table
from tests.edge.moving.test_importer import EVERY_OPTION

TABLE = read_table()
NAMES = {option.name for option in read_options(EVERY_OPTION)}


def test_every_key_that_an_option_becomes_is_one_of_the_edge() -> None:
    kept = {row.target for row in TABLE.rows.values() if isinstance(row, Kept)}
    assert [target for target in sorted(kept) if kind_of(target) is None] == []


def test_every_row_is_of_an_option_that_centrifugo_has() -> None:
    used = {id(TABLE.row(name)) for name in NAMES}
    assert [option for option, row in TABLE.rows.items() if id(row) not in used] == []


def test_an_exact_row_wins_over_a_pattern_and_a_longer_pattern_over_a_shorter_one() -> None:
    assert TABLE.row("namespace.map.mode") == TABLE.rows["namespace.map.*"]
    assert TABLE.row("consumers.kafka.topics") == TABLE.rows["consumers.*"]
    assert TABLE.row("consumers.postgresql.dsn") == TABLE.rows["consumers.postgresql.*"]
    assert TABLE.row("broker.nats.tls.cert_pem") == Kept("nats.cert_file")
    assert TABLE.row("nobody.knows") is None
