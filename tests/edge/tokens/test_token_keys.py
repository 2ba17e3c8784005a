"""The keys of tokens: which one is used for which token, and that no token chooses for itself."""

from __future__ import annotations

import hmac
import subprocess
import sys
from typing import Any

import pytest

from services.edge.client_settings import ClientSection
from services.edge.token_settings import TokenKey
from services.edge.tokens import token_keys
from services.edge.tokens.configured_keys import configured_keys
from services.edge.tokens.token_algorithms import ALGORITHMS
from services.edge.tokens.token_keys import InvalidToken, KeySet, SecretKey, UnknownKey
from services.edge.tokens.token_public_keys import keys_from_jwks
from services.edge.tokens.tokens import Identity, TokenVerifier
from tests.edge.signers import SECRET, Signer, b64, jwks, new_rsa_key, signer

NOW = 1_767_225_600
USER = Identity(user="42")
ENDPOINT = "https://id.example.com/keys"


def keys(**section: Any) -> KeySet:
    return configured_keys(ClientSection(**section))


def verify(known: KeySet, token: str) -> Identity:
    return TokenVerifier(known).connection(token, NOW)


def refused(known: KeySet, token: str) -> str:
    with pytest.raises(InvalidToken) as refusal:
        verify(known, token)
    return str(refusal.value)


def listed(by: Signer, kid: str = "", algorithm: str = "") -> TokenKey:
    name = algorithm or by.algorithm
    if by.algorithm.startswith("HS"):
        return TokenKey(algorithm=name, kid=kid, secret=by.key)
    return TokenKey(algorithm=name, kid=kid, public_key=by.pem)


RSA, EC, EC384, ED = signer("RS256"), signer("ES256"), signer("ES384"), signer("EdDSA")
HMAC = signer("HS256")


# --- one key of each kind


@pytest.mark.parametrize(
    ("setting", "by"),
    [
        ("token_hmac_secret_key", Signer("HS512")),
        *(("token_rsa_public_key", Signer(name, key=RSA.key)) for name in ("RS256", "RS512", "PS256", "PS384")),
        ("token_ecdsa_public_key", EC),
        ("token_ecdsa_public_key", EC384),
        ("token_ecdsa_public_key", signer("ES512")),
        ("token_ed25519_public_key", ED),
    ],
    ids=lambda value: value.algorithm if isinstance(value, Signer) else "",
)  # fmt: skip
def test_a_key_of_each_kind(setting: str, by: Signer) -> None:
    known = keys(**{setting: by.key if setting.startswith("token_hmac") else by.pem})
    assert verify(known, by.token(sub="42")) == USER
    other = Signer(by.algorithm, key="x" * 64 if by.algorithm.startswith("HS") else None)
    assert refused(known, other.token(sub="42")) == "its signature does not match"
    head, body, signature = by.token(sub="42").split(".")
    assert refused(known, f"{head}.{b64(b'{}')}.{signature}") == "its signature does not match"
    for bad in ("", "AAAA", signature[:-8], signature + "AAAA"):
        refused(known, f"{head}.{body}.{bad}")


def test_the_newer_name_of_eddsa() -> None:
    token = ED.signed('{"alg":"Ed25519"}', '{"sub":"42"}')
    assert verify(keys(token_ed25519_public_key=ED.pem), token) == USER
    assert verify(keys(token_keys=[listed(ED)]), token) == USER


def test_line_breaks_may_be_written_out_as_variables_need_it() -> None:
    assert verify(keys(token_rsa_public_key=RSA.pem.replace("\n", "\\n")), RSA.token(sub="42")) == USER


def test_all_of_them_at_once() -> None:
    known = keys(
        token_hmac_secret_key=SECRET,
        token_rsa_public_key=RSA.pem,
        token_ecdsa_public_key=EC.pem,
        token_ed25519_public_key=ED.pem,
        token_keys=[listed(EC384)],
    )
    for by in (HMAC, RSA, EC, ED, EC384):
        assert verify(known, by.token(sub="42")) == USER


# --- no token chooses its algorithm


@pytest.mark.parametrize("setting", ["token_rsa_public_key", "token_ecdsa_public_key", "token_ed25519_public_key"])
def test_a_public_key_is_never_a_secret(setting: str) -> None:
    by = {"token_rsa_public_key": RSA, "token_ecdsa_public_key": EC}.get(setting, ED)
    known = keys(**{setting: by.pem})
    for form in (by.pem, by.pem.strip(), by.pem.replace("\n", "")):
        body = b64(b'{"alg":"HS256"}') + "." + b64(b"{}")
        signature = b64(hmac.digest(form.encode(), body.encode(), "sha256"))
        assert refused(known, f"{body}.{signature}") == "no key is configured for its algorithm and kid"


@pytest.mark.parametrize("algorithm", ["none", "None", "", "HS1", "ES256K", "RS1", "A" * 1000])
def test_other_algorithms_are_none(algorithm: str) -> None:
    everything = keys(token_hmac_secret_key=SECRET, token_rsa_public_key=RSA.pem, token_jwks_public_endpoint=ENDPOINT)
    token = HMAC.signed(f'{{"alg":"{algorithm}"}}', '{"sub":"42"}')
    assert refused(everything, token).startswith("its algorithm")
    assert refused(everything, token.rpartition(".")[0] + ".").startswith("its algorithm")


def test_a_listed_key_is_for_its_algorithm_only() -> None:
    rs256, hs256 = keys(token_keys=[listed(RSA, "k")]), keys(token_keys=[listed(HMAC, "k")])
    assert verify(rs256, Signer("RS256", "k", RSA.key).token(sub="42")) == USER
    assert verify(hs256, Signer("HS256", "k").token(sub="42")) == USER
    for algorithm in ("RS512", "PS256"):
        assert "is for another algorithm" in refused(rs256, Signer(algorithm, "k", RSA.key).token(sub="42"))
    assert "is for another algorithm" in refused(hs256, Signer("HS512", "k").token(sub="42"))
    assert "is for another algorithm" in refused(rs256, Signer("HS256", "k").token(sub="42"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_can_be_listed(algorithm: str) -> None:
    signs_as = "EdDSA" if algorithm == "Ed25519" else algorithm
    by = Signer(signs_as, "k", RSA.key if algorithm[:2] in ("RS", "PS") else None)
    token = by.signed(f'{{"alg":"{algorithm}","kid":"k"}}', '{"sub":"42"}')
    assert verify(keys(token_keys=[listed(by, "k", algorithm)]), token) == USER


# --- kid


def test_a_token_is_checked_with_the_key_that_it_names() -> None:
    old, new = Signer("HS256", "old", "o" * 32), Signer("HS256", "new", "n" * 32)
    known = keys(token_keys=[listed(old, "old"), listed(new, "new")])
    assert verify(known, old.token(sub="42")) == verify(known, new.token(sub="42")) == USER
    assert refused(known, Signer("HS256", "old", new.key).token(sub="42")) == "its signature does not match"
    for other in (Signer("HS256", "newer", new.key), Signer("HS256", "", new.key)):
        assert refused(known, other.token(sub="42")) == "no key is configured for its algorithm and kid"


def test_where_no_key_has_a_name_names_mean_nothing() -> None:
    known = keys(token_hmac_secret_key=SECRET, token_keys=[listed(RSA, "k")])
    assert verify(known, Signer("HS256", "whatever").token(sub="42")) == USER
    assert refused(known, Signer("RS256", "whatever", RSA.key).token(sub="42")).startswith("no key")


def test_where_one_key_has_a_name_a_name_that_none_has_is_refused() -> None:
    known = keys(token_hmac_secret_key=SECRET, token_keys=[listed(Signer("HS256", key="n" * 32), "new")])
    assert verify(known, HMAC.token(sub="42")) == USER
    assert refused(known, Signer("HS256", "whatever").token(sub="42")).startswith("no key")


def test_of_several_keys_without_a_name_each_is_tried() -> None:
    first, second = Signer("HS256", key="1" * 32), Signer("HS256", key="2" * 32)
    known = keys(token_keys=[listed(first), listed(second)])
    assert verify(known, first.token(sub="42")) == verify(known, second.token(sub="42")) == USER


def test_with_an_endpoint_an_unknown_key_is_asked_for() -> None:
    known = keys(token_hmac_secret_key=SECRET, token_ecdsa_public_key=EC.pem, token_jwks_public_endpoint=ENDPOINT)
    by = Signer("RS256", "k", RSA.key)
    with pytest.raises(UnknownKey) as unknown:
        verify(known, by.token(sub="42"))
    assert unknown.value.kid == "k"
    known.replace_fetched(keys_from_jwks(jwks(by.jwk()))[0])
    assert verify(known, by.token(sub="42")) == USER
    assert verify(known, EC.token(sub="42")) == USER
    with pytest.raises(UnknownKey):
        verify(known, Signer("RS256", "other", RSA.key).token(sub="42"))
    with pytest.raises(UnknownKey):
        verify(known, RSA.token(sub="42"))


def test_secrets_are_not_asked_for() -> None:
    known = keys(token_jwks_public_endpoint=ENDPOINT)
    assert refused(known, Signer("HS256", "k").token(sub="42")) == "no key is configured for its algorithm and kid"


def test_a_key_that_is_gone_from_the_endpoint_is_good_no_more() -> None:
    known = keys(token_jwks_public_endpoint=ENDPOINT)
    old, new = Signer("ES256", "old"), Signer("ES256", "new")
    known.replace_fetched(keys_from_jwks(jwks(old.jwk()))[0])
    token = old.token(sub="42")
    assert verify(known, token) == USER
    known.replace_fetched(keys_from_jwks(jwks(new.jwk()))[0])
    with pytest.raises(UnknownKey):
        verify(known, token)
    assert verify(known, new.token(sub="42")) == USER


def test_keys_of_the_endpoint_may_have_no_name() -> None:
    known = keys(token_jwks_public_endpoint=ENDPOINT)
    known.replace_fetched(keys_from_jwks(jwks(EC.jwk()))[0])
    assert verify(known, EC.token(sub="42")) == USER


# --- signatures that are remembered


class CountingKey:
    """Signs "good", and counts how often it is asked."""

    kid = ""
    algorithms = ("RS256", "HS256")

    def __init__(self) -> None:
        self.asked = 0

    def signed(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        self.asked += 1
        return (message, signature) in ((b"a.b", b"cgood"), (b"d.e", b"good"))


def test_the_same_token_is_not_verified_twice() -> None:
    key = CountingKey()
    known = KeySet([key])
    for _ in range(3):
        known.check("RS256", "", b"a.b", b"cgood")
    assert key.asked == 1
    known.replace_fetched([])
    known.check("RS256", "", b"a.b", b"cgood")
    assert key.asked == 2


def test_a_bad_signature_is_not_remembered_as_good() -> None:
    known = KeySet([CountingKey()])
    known.check("RS256", "", b"a.b", b"cgood")
    for message, signature in ((b"a.bc", b"good"), (b"a.b", b"good"), (b"a.b\0c", b"good")):
        for _ in range(2):
            with pytest.raises(InvalidToken):
                known.check("RS256", "", message, signature)


def test_how_many_are_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_keys, "PROVEN_LIMIT", 1)
    key = CountingKey()
    known = KeySet([key])
    for message, signature in ((b"a.b", b"cgood"), (b"d.e", b"good"), (b"a.b", b"cgood"), (b"a.b", b"cgood")):
        known.check("RS256", "", message, signature)
    assert key.asked == 3


# --- settings

PRIVATE = EC.private_pem
ENTRY = 'client.token_keys[1] ("k")'


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"token_rsa_public_key": "hunter2"}, "client.token_rsa_public_key: expected a public key in PEM form"),
        ({"token_rsa_public_key": RSA.pem[:300]}, "client.token_rsa_public_key: expected a public key in PEM form"),
        ({"token_rsa_public_key": "-----BEGIN CERTIFICATE-----\nhunter2"}, "got one of the kind 'CERTIFICATE'"),
        ({"token_rsa_public_key": "\ud800"}, "client.token_rsa_public_key: expected a public key in PEM form"),
        ({"token_rsa_public_key": EC.pem}, "client.token_rsa_public_key: expected a key for RS256 or"),
        ({"token_ecdsa_public_key": RSA.pem}, "client.token_ecdsa_public_key: expected a key for ES256 or"),
        ({"token_ed25519_public_key": EC.pem}, "client.token_ed25519_public_key: expected a key for EdDSA or"),
        ({"token_ecdsa_public_key": PRIVATE}, "client.token_ecdsa_public_key: expected a public key, got a pri"),
        ({"token_rsa_public_key": Signer("RS256", key=new_rsa_key(1024)).pem}, "2048 to 8192 bits, got 1024"),
        ({"token_hmac_secret_key": EC.pem}, "client.token_hmac_secret_key: expected a secret, got a key in PEM form"),
        ({"token_hmac_secret_key": "\ud800" * 20}, "client.token_hmac_secret_key: expected text in UTF-8"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_keys_that_cannot_be_used_are_named_and_not_shown(section: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError) as refusal:
        keys(**section)
    assert said in str(refusal.value)
    _shows_nothing(refusal, *section.values())


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (TokenKey("RS256", "k", public_key=EC.pem), f"{ENTRY}.public_key: expected a key for RS256, got one for ES256"),
        (TokenKey("ES256", "k", public_key=EC384.pem), f"{ENTRY}.public_key: expected a key for ES256, got one for"),
        (TokenKey("HS256", "k", public_key=EC.pem), f"{ENTRY}: expected a secret and no public_key for HS256"),
        (TokenKey("HS256", "k", SECRET, EC.pem), f"{ENTRY}: expected a secret and no public_key for HS256"),
        (TokenKey("HS256", "k", EC.pem), f"{ENTRY}.secret: expected a secret, got a key in PEM form"),
        (TokenKey("ES256", "k", secret=EC.pem), f"{ENTRY}: expected a public_key and no secret for ES256"),
        (TokenKey("none", "k", secret=SECRET), f"{ENTRY}.algorithm: expected one of HS256, "),
        (TokenKey("HS256", "first", secret=SECRET), 'client.token_keys: expected each kid once for'),
    ],
    ids=range(8),
)  # fmt: skip
def test_listed_keys_that_cannot_be_used(entry: TokenKey, said: str) -> None:
    with pytest.raises(ValueError) as refusal:
        keys(token_keys=[listed(HMAC, "first"), entry])
    assert str(refusal.value).startswith(said)
    _shows_nothing(refusal, entry.secret, entry.public_key)


def _shows_nothing(refusal: pytest.ExceptionInfo[ValueError], *secrets: str) -> None:
    for secret in secrets:
        for line in secret.splitlines():
            assert line.startswith("-----") or line not in str(refusal.value)
    assert refusal.value.__context__ is None or refusal.value.__suppress_context__  # as in a traceback


def test_one_kid_may_stand_for_keys_of_several_algorithms() -> None:
    known = keys(token_keys=[listed(EC, "k"), listed(RSA, "k")])
    for by in (Signer("ES256", "k", EC.key), Signer("RS256", "k", RSA.key)):
        assert verify(known, by.token(sub="42")) == USER


def test_no_key_shows_itself_in_a_log() -> None:
    assert SECRET not in repr(SecretKey(SECRET.encode()))


def test_without_public_keys_nothing_is_loaded_for_them() -> None:
    script = (
        "import sys\n"
        "from services.edge.tokens import token_keys_http\n"
        "from services.edge.client_settings import ClientSection\n"
        "from services.edge.tokens.configured_keys import configured_keys\n"
        "configured_keys(ClientSection(token_hmac_secret_key='x' * 32))\n"
        "print({'jwt', 'cryptography', 'httpx'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_configured_keys_are_replaced_and_those_of_the_endpoint_stay() -> None:
    old, new = CountingKey(), SecretKey(b"another secret of the tests", kid="new")
    known = KeySet([old], fetched=True)
    known.replace_fetched(keys_from_jwks(jwks(EC.jwk()))[0])
    known.check("RS256", "", b"a.b", b"cgood")
    known.replace_configured([new])
    with pytest.raises((InvalidToken, UnknownKey)):
        known.check("RS256", "", b"a.b", b"cgood")
    token = EC.token(sub="42")
    assert TokenVerifier(known).connection(token, NOW).user == "42"
