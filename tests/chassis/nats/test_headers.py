from __future__ import annotations

import pytest

from services.chassis.nats.headers import header, header_block, status


def test_a_header_is_found_by_its_exact_name():
    block = b"NATS/1.0\r\nNats-Last-Sequence: 4\r\nNats-Sequence: 9\r\nEmpty:\r\n\r\n"
    assert header(block, b"Nats-Sequence") == b"9"
    assert header(block, b"Nats-Last-Sequence") == b"4"
    assert header(block, b"Empty") == b""
    assert header(block, b"Sequence") is None and header(None, b"Nats-Sequence") is None


def test_headers_of_the_server_win_over_those_of_a_publisher():
    assert header(b"NATS/1.0\r\nNats-Sequence: 1\r\nNats-Sequence: 9\r\n\r\n", b"Nats-Sequence") == b"9"


def test_a_status_is_told_from_an_ordinary_message():
    assert status(b"NATS/1.0 503\r\n\r\n") == 503
    assert status(b"NATS/1.0 204 EOB\r\nA: 1\r\n\r\n") == 204
    assert status(b"NATS/1.0\r\nA: 1\r\n\r\n") == status(None) == 0


def test_a_block_is_made_of_fields_and_takes_no_line_break():
    assert header_block(Nats_Msg_Id="x") == b"NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n"
    with pytest.raises(ValueError):
        header_block(Nats_Msg_Id="x\r\nFairlead-Info: {}")
