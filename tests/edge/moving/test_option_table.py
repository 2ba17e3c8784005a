"""The table of options: nothing in it is misspelt, neither on Centrifugo's side nor on ours."""

from __future__ import annotations

from services.edge.moving.centrifugo_file import read_options
from services.edge.moving.edge_keys import kind_of
from services.edge.moving.option_table import Kept, read_table
from tests.edge.moving.test_importer import EVERY_OPTION

TABLE = read_table()
NAMES = {option.name for option in read_options(EVERY_OPTION)}


def test_a_key_that_an_edge_does_not_have_says_what_to_do_until_then() -> None:
    silent = [
        (option, row.target)
        for option, row in TABLE.rows.items()
        if isinstance(row, Kept) and kind_of(row.target) is None and "has no" in TABLE.while_away(option, row.target)
    ]
    assert silent == []


def test_every_row_is_of_an_option_that_centrifugo_has() -> None:
    used = {id(TABLE.row(name)) for name in NAMES}
    assert [option for option, row in TABLE.rows.items() if id(row) not in used] == []


def test_an_exact_row_wins_over_a_pattern_and_a_longer_pattern_over_a_shorter_one() -> None:
    assert TABLE.row("broker.nats.tls.cert_pem_file") == Kept("nats.cert_file")
    assert TABLE.row("broker.nats.tls.cert_pem") == TABLE.rows["broker.nats.tls.*"]
    assert TABLE.row("consumers.kafka.topics") == TABLE.rows["consumers.*"]
    assert TABLE.row("nobody.knows") is None
