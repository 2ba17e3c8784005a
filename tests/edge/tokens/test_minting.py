"""Tokens that whoever tries out an edge makes for themselves."""

from __future__ import annotations

import jwt
import pytest

from services.edge.tokens.minting import mint, parse_ttl


def test_a_token_is_for_its_user_and_ends() -> None:
    key = "k" * 32
    claims = jwt.decode(mint("alice", key, parse_ttl("15m")), key, algorithms=["HS256"])
    assert claims["sub"] == "alice"
    assert claims["exp"] - claims["iat"] == 900


@pytest.mark.parametrize("text", ["0", "500ms", "-1", "soon", ""])
def test_a_lifetime_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_ttl(text)
