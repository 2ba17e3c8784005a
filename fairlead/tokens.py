"""Makes the tokens with which your users connect and subscribe.

    tokens = Tokens(SECRET)  # the edge's client.token_hmac_secret_key
    tokens.connection("alice", info={"name": "Alice"})
    tokens.subscription("alice", "orders:17")

Make them in a view, for the user of the session, and let the SDK fetch a new one before the old one expires (getToken).
With a private key (RS256, ES256, EdDSA) use any JWT library: the claims are those of `connection_claims` and
`subscription_claims`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Final

_HASHES: Final = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
TTL_S: Final = 900.0
"""A quarter of an hour: for this long a user whom you lock out could still connect."""


class Tokens:
    """Signs with a secret that the edge knows too. `audience` and `issuer` are needed if the edge checks them.

    `algorithm` is HS256, HS384 or HS512; `kid` names the key if the edge has several (`client.token_keys`). Raises
    ValueError for another algorithm, and for an empty secret.
    """

    def __init__(
        self, secret: str, *, algorithm: str = "HS256", kid: str = "", audience: str = "", issuer: str = ""
    ) -> None:
        if not secret:
            raise ValueError("expected a secret that is not empty")
        if algorithm not in _HASHES:
            raise ValueError(f"expected one of {', '.join(_HASHES)}: for other algorithms use a JWT library")
        self._secret = secret.encode()
        self._hash = _HASHES[algorithm]
        header = {"alg": algorithm, "typ": "JWT"} | ({"kid": kid} if kid else {})
        self._header = _part(header)
        self._everywhere = {name: value for name, value in (("aud", audience), ("iss", issuer)) if value}

    def connection(
        self,
        user: str,
        *,
        ttl_s: float = TTL_S,
        info: Any = None,
        meta: Any = None,
        channels: Iterable[str] = (),
        subs: Mapping[str, Mapping[str, Any]] | None = None,
        session: str = "",
        now: float | None = None,
    ) -> str:
        """A connection token: see `connection_claims`."""
        claims = connection_claims(
            user, ttl_s=ttl_s, info=info, meta=meta, channels=channels, subs=subs, session=session, now=now
        )
        return self._signed(claims)

    def subscription(
        self,
        user: str,
        channel: str,
        *,
        ttl_s: float = TTL_S,
        client: str = "",
        info: Any = None,
        now: float | None = None,
    ) -> str:
        """A subscription token: see `subscription_claims`."""
        return self._signed(subscription_claims(user, channel, ttl_s=ttl_s, client=client, info=info, now=now))

    def _signed(self, claims: dict[str, Any]) -> str:
        text = self._header + b"." + _part(claims | self._everywhere)
        return (text + b"." + _base64(hmac.digest(self._secret, text, self._hash))).decode()


def connection_claims(
    user: str,
    *,
    ttl_s: float = TTL_S,
    info: Any = None,
    meta: Any = None,
    channels: Iterable[str] = (),
    subs: Mapping[str, Mapping[str, Any]] | None = None,
    session: str = "",
    now: float | None = None,
) -> dict[str, Any]:
    """`user` may connect, for `ttl_s` seconds from `now` (Unix seconds, by default the present).

    Other clients see `info`, backends see `meta`; both are any JSON. The server subscribes the client to `channels`, or
    to the keys of `subs`, whose values are the options of the subscription (`info`, `data`, `override`). `session`
    identifies one device or tab (the claim `sid`). Raises ValueError for an empty user, who would be anonymous.
    """
    claims = _claims(user, ttl_s, info, now)
    optional = (
        ("meta", meta),
        ("channels", list(channels) or None),
        ("subs", {channel: dict(terms) for channel, terms in (subs or {}).items()} or None),
        ("sid", session or None),
    )
    return claims | {name: value for name, value in optional if value is not None}


def subscription_claims(
    user: str, channel: str, *, ttl_s: float = TTL_S, client: str = "", info: Any = None, now: float | None = None
) -> dict[str, Any]:
    """`user` may subscribe to `channel`, and stay for `ttl_s` seconds; with `client`, only on this connection.

    `info` is what others in the channel see. Raises ValueError for an empty user or channel.
    """
    if not channel:
        raise ValueError("expected a channel")
    claims = _claims(user, ttl_s, info, now) | {"channel": channel}
    return claims | ({"client": client} if client else {})


def _claims(user: str, ttl_s: float, info: Any, now: float | None) -> dict[str, Any]:
    if not user:
        raise ValueError("expected a user: a token without one is for an anonymous client")
    if ttl_s < 1:
        raise ValueError("expected a ttl_s of at least one second")
    issued = int(time.time() if now is None else now)
    return {"sub": user, "iat": issued, "exp": issued + int(ttl_s)} | ({} if info is None else {"info": info})


def _part(content: dict[str, Any]) -> bytes:
    return _base64(json.dumps(content, separators=(",", ":"), allow_nan=False).encode())


def _base64(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")
