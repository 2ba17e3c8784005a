"""The keys for tokens that the settings of the section `client` name, each checked before the edge starts.

Public keys are read by `token_public_keys`, which is imported only if there are any: its dependencies take 115 ms to
load, and 13 MB of memory.
"""

from __future__ import annotations

from typing import NamedTuple

from services.edge.token_settings import TokenKey, Tokens, TokenSettings, connection_tokens, subscription_tokens
from services.edge.tokens.tenant_keys import TenantKeySet
from services.edge.tokens.token_algorithms import (
    ALGORITHMS,
    ECDSA_ALGORITHMS,
    ED25519_ALGORITHMS,
    HMAC_ALGORITHMS,
    PUBLIC_ALGORITHMS,
    RSA_ALGORITHMS,
    spellings,
)
from services.edge.tokens.token_keys import Key, KeySet, SecretKey


class KeySets(NamedTuple):
    """The keys of connection tokens, and those of subscription tokens: empty if these have none of their own."""

    connection: KeySet
    subscription: KeySet


def key_sets(section: TokenSettings) -> KeySets:
    """The keys that are configured. Raises ValueError, which names the setting and never shows its value."""
    subscription = subscription_tokens(section)
    return KeySets(configured_keys(section), KeySet() if subscription is None else _key_set(subscription))


def configured_keys(section: TokenSettings) -> KeySet:
    """The keys of connection tokens. Raises ValueError like `key_sets`."""
    return _key_set(connection_tokens(section))


def _key_set(tokens: Tokens) -> KeySet:
    url, setting = tokens.jwks_public_endpoint, f"client.{tokens.prefix}jwks_public_endpoint"
    if tokens.is_template:
        return TenantKeySet(url, setting)
    return KeySet(keys_of(tokens), bool(url), url, setting)


def keys_of(tokens: Tokens | None) -> list[Key]:
    """The keys that `tokens` lists; none if it is None. Raises ValueError like `key_sets`."""
    keys: list[Key] = []
    if tokens is None:
        return keys
    where = f"client.{tokens.prefix}"
    if tokens.hmac_secret_key:
        keys.append(SecretKey(_secret(tokens.hmac_secret_key, f"{where}hmac_secret_key")))
    for name, pem, algorithms in (
        ("rsa_public_key", tokens.rsa_public_key, RSA_ALGORITHMS),
        ("ecdsa_public_key", tokens.ecdsa_public_key, ECDSA_ALGORITHMS),
        ("ed25519_public_key", tokens.ed25519_public_key, ED25519_ALGORITHMS),
    ):
        if pem:
            keys.append(_public(pem, algorithms, "", f"{where}{name}"))
    for number, entry in enumerate(tokens.keys):
        keys.append(_listed(entry, f"{where}keys[{number}]" + (f' ("{entry.kid}")' if entry.kid else "")))
    names = [(key.kid, algorithm) for key in keys if key.kid for algorithm in key.algorithms]
    if twice := next((kid for kid, algorithm in names if names.count((kid, algorithm)) > 1), ""):
        raise ValueError(f'{where}keys: expected each kid once for an algorithm, "{twice}" appears twice')
    return keys


def _listed(entry: TokenKey, setting: str) -> Key:
    if entry.algorithm in HMAC_ALGORITHMS:
        if not entry.secret or entry.public_key:
            raise ValueError(f"{setting}: expected a secret and no public_key for {entry.algorithm}")
        return SecretKey(_secret(entry.secret, f"{setting}.secret"), (entry.algorithm,), entry.kid)
    if entry.algorithm not in PUBLIC_ALGORITHMS:
        raise ValueError(f"{setting}.algorithm: expected one of {', '.join(ALGORITHMS)}")
    if not entry.public_key or entry.secret:
        raise ValueError(f"{setting}: expected a public_key and no secret for {entry.algorithm}")
    return _public(entry.public_key, spellings(entry.algorithm), entry.kid, f"{setting}.public_key")


def _secret(text: str, setting: str) -> bytes:
    if "-----BEGIN" in text:  # otherwise anyone who has the public key could sign tokens with it
        raise ValueError(f"{setting}: expected a secret, got a key in PEM form, which belongs in another setting")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{setting}: expected text in UTF-8") from None


def _public(pem: str, algorithms: tuple[str, ...], kid: str, setting: str) -> Key:
    from services.edge.tokens.token_public_keys import public_key_from_pem

    try:
        return public_key_from_pem(pem, algorithms, kid)
    except ValueError as error:
        raise ValueError(f"{setting}: {error}") from None
