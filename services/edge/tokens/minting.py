"""Connection tokens for trying out an edge, as an application's backend would make them."""

from __future__ import annotations

import time

from services.chassis.process.settings import Duration


def mint(user: str, key: str, ttl_s: float, audience: str = "", issuer: str = "") -> str:
    """A JWT (HS256) that lets `user` connect for `ttl_s` seconds, with the claims `aud` and `iss` if they are given."""
    import jwt  # takes 30 ms and 5 MB, which an edge that only serves can do without

    now = int(time.time())
    claims: dict[str, object] = {"sub": user, "iat": now, "exp": now + int(ttl_s)}
    claims |= {name: value for name, value in (("aud", audience), ("iss", issuer)) if value}
    return jwt.encode(claims, key, algorithm="HS256")


def parse_user(text: str) -> str:
    """Returns `text`.

    Raises ValueError if it is empty: an edge would take its token for that of an anonymous client.
    """
    if not text.strip():
        raise ValueError("a user is required, such as alice")
    return text


def parse_ttl(text: str) -> float:
    """Seconds from "90", "15m", "1h". Raises ValueError for anything else, and below one second."""
    ttl = Duration.parse(text)
    if ttl < 1:
        raise ValueError("expected at least one second")
    return ttl
