"""The settings of tokens, a part of the section `client`: their keys, and what their claims must be.

Subscription tokens are checked as connection tokens are, unless they have keys of their own.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from services.chassis.process.secret_files import Secret
from services.chassis.process.settings import Duration, Section, is_http_address
from services.edge.patterns import check_effort

MIN_JWKS_REFRESH_S: Final = 1.0
"""Keys change every few weeks: a shorter interval would ask too much of the server that has them."""


PLACE: Final = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}")
"""A placeholder in the address of a JWKS document for a named group of a pattern, such as {{realm}}."""


class TokenKey(Section, frozen=True):
    """One of several keys for tokens. A token names its key by the `kid` in its header."""

    algorithm: str
    """HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA."""
    kid: str = ""
    """The key's id in tokens. Empty: for tokens that name no key."""
    secret: Secret = ""
    """The secret, for HS256, HS384 and HS512."""
    public_key: str = ""
    """The public key in PEM form, for all other algorithms."""


class TokenSettings(Section, frozen=True):
    """Tokens: keys and claims."""

    token_hmac_secret_key: Secret = ""
    """The secret with which tokens (JWT) are signed, for HS256, HS384 and HS512. At least 16 characters."""
    token_rsa_public_key: str = ""
    """The public key in PEM form that verifies tokens with RS256, RS384, RS512, PS256, PS384 or PS512."""
    token_ecdsa_public_key: str = ""
    """The same for ES256, ES384 or ES512, whichever the key's curve is for."""
    token_ed25519_public_key: str = ""
    """The same for EdDSA with Ed25519."""
    token_keys: list[TokenKey] = []  # noqa: RUF012
    """Further keys, each with its algorithm and `kid`, such as the old and the new one while keys are rotated."""
    token_jwks_public_endpoint: str = ""
    """The address of a JWKS document with public keys (https://...). Read again for a token with an unknown `kid`. With
    placeholders such as {{realm}}, for groups of the two patterns below, each issuer has an address of its own.
    """
    token_jwks_refresh: Duration = Duration(600)
    """How often JWKS documents are read, so that withdrawn keys stop working. At least 1 s."""
    token_audience: str = ""
    """What `aud` of every token must be or contain; empty: not checked."""
    token_audience_regex: str = ""
    """The same as a regular expression, which the whole `aud`, or one of several, must match."""
    token_issuer: str = ""
    """What `iss` of every token must be; empty: not checked."""
    token_issuer_regex: str = ""
    """The same as a regular expression, which the whole `iss` must match."""
    token_user_id_claim: str = ""
    """The claim that has the user's id, as text or as a whole number. Empty: `sub`."""
    token_nbf_leeway: Duration = Duration(5)
    """How early a token may come before its `nbf`, as the clock of whoever signed it may be ahead of the edge's."""
    subscription_token_hmac_secret_key: Secret = ""
    """The secret for subscription tokens. With one of these keys, subscription tokens are checked by the options
    `subscription_token_...` alone, and no longer by those of connection tokens."""
    subscription_token_rsa_public_key: str = ""
    """The public key for subscription tokens with RS256, RS384, RS512, PS256, PS384 or PS512."""
    subscription_token_ecdsa_public_key: str = ""
    """The same for ES256, ES384 or ES512."""
    subscription_token_ed25519_public_key: str = ""
    """The same for EdDSA with Ed25519."""
    subscription_token_keys: list[TokenKey] = []  # noqa: RUF012
    """Further keys for subscription tokens, each with its algorithm and `kid`."""
    subscription_token_jwks_public_endpoint: str = ""
    """The address of a JWKS document with public keys for subscription tokens."""
    subscription_token_audience: str = ""
    """What `aud` of a subscription token must be or contain."""
    subscription_token_audience_regex: str = ""
    """The same as a regular expression."""
    subscription_token_issuer: str = ""
    """What `iss` of a subscription token must be."""
    subscription_token_issuer_regex: str = ""
    """The same as a regular expression."""
    subscription_token_user_id_claim: str = ""
    """The claim of a subscription token that has the user's id. Empty: `sub`."""


class Tokens(NamedTuple):
    """How one kind of tokens is checked. `prefix` is what precedes the names of its options: "token_", for example."""

    prefix: str
    hmac_secret_key: str
    rsa_public_key: str
    ecdsa_public_key: str
    ed25519_public_key: str
    keys: list[TokenKey]
    jwks_public_endpoint: str
    audience: str
    audience_regex: str
    issuer: str
    issuer_regex: str
    user_id_claim: str

    @property
    def is_template(self) -> bool:
        """Whether each issuer has an endpoint of its own."""
        return PLACE.search(self.jwks_public_endpoint) is not None

    @property
    def has_keys(self) -> bool:
        """Whether such a token can be valid."""
        return any(self[1:7])


def connection_tokens(section: TokenSettings) -> Tokens:
    """How connection tokens are checked."""
    return _tokens(section, "token_")


def subscription_tokens(section: TokenSettings) -> Tokens | None:
    """How subscription tokens are checked; None if they are checked as connection tokens are."""
    tokens = _tokens(section, "subscription_token_")
    return tokens if tokens.has_keys else None


def check_tokens(section: TokenSettings) -> None:
    """Raises ValueError for options that are not valid, or do nothing."""
    if section.token_jwks_refresh < MIN_JWKS_REFRESH_S:
        raise ValueError(f"expected client.token_jwks_refresh of at least {MIN_JWKS_REFRESH_S:g} s")
    for prefix in ("token_", "subscription_token_"):
        tokens, where = _tokens(section, prefix), f"client.{prefix}"
        if (url := PLACE.sub("x", tokens.jwks_public_endpoint)) and not is_http_address(url):
            raise ValueError(f"expected {where}jwks_public_endpoint to be an address such as https://host/path")
        for name in ("audience", "issuer"):
            pattern = getattr(tokens, f"{name}_regex")
            if pattern and getattr(tokens, name):
                raise ValueError(f"expected {where}{name} or {where}{name}_regex, got both")
            try:
                re.compile(pattern)
                check_effort(pattern)
            except re.error as error:
                raise ValueError(f"expected {where}{name}_regex to be a regular expression: {error}") from None
            except ValueError as error:
                raise ValueError(f"{where}{name}_regex: {error}") from None
        if tokens.is_template:
            _check_template(tokens, where)
    alone = _tokens(section, "subscription_token_")
    if not alone.has_keys and any(alone[7:]):
        raise ValueError(
            "expected a key for subscription tokens (client.subscription_token_hmac_secret_key, another one or an "
            "endpoint) with the other options client.subscription_token_...: without one they do nothing"
        )


def _check_template(tokens: Tokens, where: str) -> None:
    """Raises ValueError if a token could choose the host of the address, or a placeholder has no group in a pattern."""
    url = tokens.jwks_public_endpoint
    if others := [f"{where}{name}" for name in Tokens._fields[1:6] if getattr(tokens, name)]:
        raise ValueError(
            f"expected no other keys with a placeholder in {where}jwks_public_endpoint: remove {', '.join(others)}, as "
            "tokens are verified with the keys of their issuer alone"
        )
    host = urlsplit(url).netloc
    if PLACE.search(host) and not re.fullmatch(r"\.[^@:]*[^@:.](?::\d+)?", PLACE.split(host)[-1]):
        raise ValueError(f"expected {where}jwks_public_endpoint to have a host that ends in your own name")
    groups: set[str] = set()
    for pattern in (tokens.audience_regex, tokens.issuer_regex):
        groups |= re.compile(pattern).groupindex.keys()
    for name in PLACE.findall(url):
        if name not in groups:
            raise ValueError(
                f"expected a group (?P<{name}>...) in {where}issuer_regex or {where}audience_regex for the placeholder "
                f"in {where}jwks_public_endpoint"
            )


def _tokens(section: TokenSettings, prefix: str) -> Tokens:
    return Tokens(prefix, *(getattr(section, prefix + name) for name in Tokens._fields[1:]))
