"""Tokens: the claims of the reference (3.9), and every way to get them wrong."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from proto.messages import NO_DATA
from services.edge.grants import Grant, Override, Switch
from services.edge.tokens.token_keys import KeySet, SecretKey
from services.edge.tokens.tokens import (
    TOKEN_CHANNELS_LIMIT,
    ExpiredToken,
    Identity,
    InvalidToken,
    SubscriptionClaims,
    TokenVerifier,
    UnknownKey,
)
from tests.edge.signers import SECRET, Signer, b64, signer

NOW = 1_767_225_600
KEYS = KeySet([SecretKey(SECRET.encode())])
VERIFIER = TokenVerifier(KEYS)
SIGNER = Signer("HS256")


def signed(header: str, payload: str) -> str:
    return SIGNER.signed(header, payload)


def token(**claims: Any) -> str:
    return signed('{"alg":"HS256"}', json.dumps(claims))


def connection(**claims: Any) -> Identity:
    return VERIFIER.connection(token(**claims), NOW)


def subscription(**claims: Any) -> SubscriptionClaims:
    return VERIFIER.subscription(token(**({"channel": "news"} | claims)), NOW)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_hmac_tokens(algorithm: str) -> None:
    assert VERIFIER.connection(Signer(algorithm).token(sub="42"), NOW) == Identity(user="42")


# --- connection tokens


def test_claims() -> None:
    assert connection(
        sub="42", exp=NOW + 60, sid="phone", iat=NOW + 999, jti="x", aud="a", iss="b", meta={"a": 1}
    ) == Identity(user="42", expires_at=NOW + 60, session_key="phone", meta=Raw(b'{"a": 1}'))


def test_no_sub_is_anonymous() -> None:
    assert connection().user == ""
    assert connection(sub="").user == ""


COMMON: list[dict[str, Any]] = [
    *({"sub": value} for value in (42, ["42"], "\ud800")),
    *({"exp": value} for value in ("tomorrow", True, -1, float("nan"), float("inf"), 2**60, 1e20)),
    {"nbf": "x"},
    {"expire_at": "x"},
    {"info": float("nan")},
    *({"b64info": value} for value in (7, "not base64", "é", "!MQ==", b64(b"no json") + "=")),
    {"aud": 7},
    {"iss": 7},
]


@pytest.mark.parametrize(
    "claims",
    [
        *COMMON,
        {"channel": "news"},
        {"channel": ""},
        {"meta": float("nan")},
        {"channels": "news"},
        {"channels": [7]},
        {"channels": [""]},
        {"channels": [str(number) for number in range(TOKEN_CHANNELS_LIMIT + 1)]},
        {"subs": ["news"]},
        {"subs": {"": {}}},
        {"subs": {"news": 7}},
        {"subs": {"news": {"b64info": "no json"}}},
        {"subs": {"news": {"b64data": base64.b64encode(b"no json").decode()}}},
        {"subs": {"news": {"override": {"presence": True}}}},
        {"subs": {"news": {"override": {"presence": {"value": 1}}}}},
        {"subs": {str(number): {} for number in range(TOKEN_CHANNELS_LIMIT + 1)}},
    ],
    ids=lambda claims: str(claims)[:60],
)
def test_claims_of_another_kind(claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        connection(**({"sub": "42"} | claims))


@pytest.mark.parametrize("key", [7, None, ["phone"]])
def test_a_session_key_of_another_kind_is_none(key: object) -> None:
    assert connection(sub="42", sid=key).session_key == ""


@pytest.mark.parametrize("info", [{"name": "Jürgen 🎉"}, [1, 2.5], "x", 0, False, ""])
def test_info_is_handed_on_as_json(info: object) -> None:
    assert json.loads(bytes(connection(info=info).info)) == info


def test_info_keeps_what_numbers_are_written_like() -> None:
    raw = VERIFIER.connection(signed('{"alg":"HS256"}', '{"info":[1.10,12345678901234567890]}'), NOW).info
    assert bytes(raw) == b"[1.10,12345678901234567890]"


def test_info_is_handed_on_without_line_breaks() -> None:
    raw = VERIFIER.connection(signed('{"alg":"HS256"}', '{"info":{\r\n "a": 1}}'), NOW).info
    assert bytes(raw) == b'{ "a": 1}'


def test_no_info() -> None:
    assert bytes(connection(info=None, b64info="", meta=None).info) == b""


def test_b64info_is_handed_on_without_line_breaks() -> None:
    encoded = base64.b64encode(b'{\r\n "a": 1}').decode()
    assert bytes(connection(b64info=encoded, info="ignored").info) == b'{ "a": 1}'


def test_server_side_channels() -> None:
    encoded = base64.b64encode(b'{"b":2}').decode()
    subs = {
        "plain": {},
        "full": {"info": {"a": 1}, "data": [1], "override": {"presence": {"value": True}, "force_recovery": {}}},
        "encoded": {"b64info": encoded, "b64data": encoded, "info": 1, "override": None},
    }
    assert connection(subs=subs, channels=["ignored"]).grants == {
        "plain": Grant(),
        "full": Grant(
            info=Raw(b'{"a": 1}'),
            data=Raw(b"[1]"),
            override=Override(presence=Switch(value=True), force_recovery=Switch(value=False)),
        ),
        "encoded": Grant(info=Raw(b'{"b":2}'), data=Raw(b'{"b":2}')),
    }


def test_a_list_of_server_side_channels() -> None:
    assert connection(channels=["a", "b", "a"]).grants == {"a": Grant(), "b": Grant()}
    assert connection(channels=None, subs=None).grants == {}
    assert len(connection(channels=[str(number) for number in range(TOKEN_CHANNELS_LIMIT)]).grants) == 1000


# --- subscription tokens


def test_subscription_claims() -> None:
    assert subscription() == SubscriptionClaims(channel="news")
    assert subscription(
        sub="42", client="c1", exp=NOW + 60, info={"a": 1}, b64data="WzFd", override={"join_leave": {"value": True}}
    ) == SubscriptionClaims(
        channel="news",
        user="42",
        client="c1",
        grant=Grant(
            info=Raw(b'{"a": 1}'),
            data=Raw(b"[1]"),
            expires_at=NOW + 60,
            override=Override(join_leave=Switch(value=True)),
        ),
    )


@pytest.mark.parametrize(
    "claims",
    [
        *COMMON,
        {"channel": ""},
        {"channel": None},
        {"channel": 7},
        {"client": 7},
        {"data": float("nan")},
        {"b64data": "no json"},
        {"override": []},
    ],
    ids=str,
)
def test_subscription_claims_of_another_kind(claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        subscription(**claims)


def test_a_connection_token_is_no_subscription_token() -> None:
    with pytest.raises(InvalidToken, match="no channel"):
        VERIFIER.subscription(token(sub="42"), NOW)


# --- forged and malformed ones


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "x",
        "a.b.c",
        "ä.ö.ü",
        token() + "x",
        token()[:-4],
        token() + "=",
        token() + ".",
        token().replace(".", "..", 1),
        "." * 10,
        jwt.encode({"sub": "42"}, SECRET + "!", algorithm="HS256"),
        b64(b'{"alg":"none"}') + "." + b64(b'{"sub":"42"}') + ".",
        signed('{"alg":"none"}', '{"sub":"42"}'),
        signed('{"alg":"RS256"}', '{"sub":"42"}'),
        signed('{"alg":["HS256"]}', '{"sub":"42"}'),
        signed('{"alg":"HS256","kid":7}', '{"sub":"42"}'),
        signed("{}", '{"sub":"42"}'),
        signed("[]", '{"sub":"42"}'),
        signed("x", '{"sub":"42"}'),
        signed("[" * 100_000, '{"sub":"42"}'),
        signed('{"alg":"HS256","crit":["x"]}', '{"sub":"42"}'),
        signed('{"alg":"HS256","b64":false}', '{"sub":"42"}'),
        signed('{"alg":"HS256"}', "[]"),
        signed('{"alg":"HS256"}', "x"),
        signed('{"alg":"HS256"}', "[" * 100_000),
        signed('{"alg":"HS256"}', '{"exp":' + "9" * 5000 + "}"),
    ],
    ids=range(26),
)
def test_forged_and_malformed_tokens(forged: str) -> None:
    for verify in (VERIFIER.connection, VERIFIER.subscription):
        with pytest.raises(InvalidToken) as refusal:
            verify(forged, NOW)
        assert SECRET not in str(refusal.value)
        assert "42" not in str(refusal.value)


def test_claims_that_are_not_utf8() -> None:
    for claims in (b'{"\xff":1}', b'{"other":"\xff"}', b'{"info":"\xff"}', b'{"sub":"\xff"}'):
        body = b64(b'{"alg":"HS256"}') + "." + b64(claims)
        with pytest.raises(InvalidToken):
            VERIFIER.connection(f"{body}.{b64(_hs256(body))}", NOW)


def _hs256(body: str) -> bytes:
    algorithm = jwt.get_algorithm_by_name("HS256")
    return algorithm.sign(body.encode(), SECRET.encode())


PARTS = [*token(sub="42").split("."), *signer("ES256").token(channel="news").split("."), ".", "a", "-", "="]
ALL_KEYS = KeySet([SecretKey(SECRET.encode())], fetched=True)


@settings(max_examples=100)
@given(st.text(max_size=60) | st.lists(st.sampled_from(PARTS), max_size=6).map("".join))
def test_any_text_is_no_token(text: str) -> None:
    with pytest.raises((InvalidToken, UnknownKey)):
        TokenVerifier(ALL_KEYS).connection(text + "x", NOW)
    with pytest.raises((InvalidToken, UnknownKey)):
        TokenVerifier(ALL_KEYS).subscription(text, NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TERMS = ["info", "b64info", "data", "b64data", "override"]
NAMES = [*TERMS, "sub", "exp", "nbf", "expire_at", "aud", "iss", "client", "sid", "meta", "subs", "channels"]
ENCODED = st.binary(max_size=6).map(lambda data: base64.b64encode(data).decode())
SUBS = st.dictionaries(st.text(max_size=3), st.dictionaries(st.sampled_from(TERMS), JSON | ENCODED, max_size=2))


@settings(max_examples=100)
@given(
    st.dictionaries(st.sampled_from([*NAMES, "channel"]) | st.text(max_size=5), JSON | ENCODED | SUBS, max_size=4),
    st.booleans(),
)
def test_any_claims_give_an_answer_that_can_be_sent_or_a_refusal(claims: dict[str, Any], insecure: bool) -> None:
    verifier = TokenVerifier(KEYS, insecure=insecure)
    for verify in (verifier.connection, verifier.subscription):
        try:
            answer = verify(token(**claims), NOW)
        except (InvalidToken, ExpiredToken):
            continue
        if isinstance(answer, Identity):
            payloads, grants = [answer.info, answer.meta], list(answer.grants.values())
        else:
            payloads, grants = [], [answer.grant]
        for payload in payloads + [payload for grant in grants for payload in (grant.info, grant.data)]:
            if payload != NO_DATA:
                json.loads(bytes(payload))


HEADERS = st.fixed_dictionaries(
    {}, optional={"alg": st.sampled_from(["HS256", "HS512", "none", "ES256"]), "kid": JSON, "crit": JSON, "b64": JSON}
)


@settings(max_examples=100)
@given(HEADERS, st.sampled_from(["", "=", "A", "."]), st.integers(0, 3), st.integers(0, 255))
def test_a_token_that_is_good_here_is_good_for_the_library(
    header: dict[str, Any], tail: str, part: int, flip: int
) -> None:
    parts = signed(json.dumps(header), '{"sub":"42"}').split(".")
    if part < 3 and flip:
        parts[part] = parts[part][:-1] + chr(flip)
    text = ".".join(parts) + tail
    try:
        VERIFIER.connection(text, NOW)
    except InvalidToken:
        return
    assert jwt.decode(text, SECRET, ["HS256", "HS384", "HS512"]) == {"sub": "42"}


def test_without_a_key_no_token_is_good() -> None:
    with pytest.raises(InvalidToken, match=r"client\.token_hmac_secret_key"):
        TokenVerifier(KeySet()).connection(signed('{"alg":"HS256"}', "{}"), NOW)
