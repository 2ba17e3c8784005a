"""Tokens made in bulk are ordinary JWTs to the library that the edge verifies them with."""

from __future__ import annotations

import time

import jwt
import pytest

from perf.load.dialects.centrifuge import connection_token

SECRET = "a secret of at least thirty-two bytes"


def test_a_stock_library_accepts_the_token() -> None:
    expires_at = int(time.time()) + 60
    claims = jwt.decode(connection_token("user-1", SECRET, expires_at), SECRET, algorithms=["HS256"])
    assert claims == {"sub": "user-1", "exp": expires_at}


def test_and_refuses_it_under_another_secret() -> None:
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(connection_token("u", SECRET, int(time.time()) + 60), SECRET + "!", algorithms=["HS256"])
