"""Signatures of questions and events, as an application checks them."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from fairlead import SIGNATURE_HEADER, BadSignature, sign, verify
from proto import signature

SECRET = "a-secret-of-both"
NOW = 1_796_000_000.0
BODY = '{"user":"zoë"}'.encode()
GOOD = f"t=1796000000,v1={hmac.new(SECRET.encode(), b'1796000000.' + BODY, hashlib.sha256).hexdigest()}"


def test_a_signature_is_the_one_that_the_documentation_describes():
    assert sign(SECRET, BODY, now=NOW + 0.9) == GOOD
    verify(SECRET, GOOD, BODY, now=NOW)
    verify(SECRET, sign(SECRET, BODY), BODY)  # by the present clock


def test_it_is_the_one_that_fairlead_makes():
    assert signature.sign(SECRET, int(NOW), BODY) == GOOD
    assert signature.is_signed([SECRET], sign(SECRET, BODY, now=NOW), BODY, NOW)
    assert signature.HEADER == SIGNATURE_HEADER


def test_several_secrets_are_accepted_while_one_is_exchanged():
    verify(["the-next-one", SECRET], GOOD, BODY, now=NOW)
    with pytest.raises(BadSignature):
        verify(["the-next-one", "another"], GOOD, BODY, now=NOW)


@pytest.mark.parametrize("late_s", [-300, -1, 0, 300])
def test_clocks_may_differ(late_s):
    verify(SECRET, GOOD, BODY, now=NOW + late_s)


@pytest.mark.parametrize("late_s", [-301, 301, 86400])
def test_an_old_question_is_refused(late_s):
    with pytest.raises(BadSignature, match="compare the clocks"):
        verify(SECRET, GOOD, BODY, now=NOW + late_s)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t=1796000000",
        GOOD.replace("v1=", "v0="),
        GOOD.upper(),
        GOOD + " ",
        GOOD + "\n",
        GOOD[:-1],
        GOOD.replace("t=1796000000", "t=1796000001"),
        GOOD.replace("t=1796000000", "t=01796000000"),
        GOOD.replace("t=1796000000", "t=-1796000000"),
        GOOD.replace("t=", "t=\u0661"),
    ],
)
def test_another_header_is_refused(header):
    with pytest.raises(BadSignature):
        verify(SECRET, header, BODY, now=NOW)


@pytest.mark.parametrize("body", [b"", BODY + b" ", BODY.replace(b"user", b"nser")])
def test_another_body_is_refused(body):
    with pytest.raises(BadSignature, match="another secret, or for another body") as refused:
        verify(SECRET, GOOD, body, now=NOW)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("secrets", ["", [], ["", SECRET]])
def test_an_empty_secret_is_a_mistake_and_lets_nothing_in(secrets):
    with pytest.raises(ValueError, match="expected a secret"):
        verify(secrets, GOOD, BODY, now=NOW)
