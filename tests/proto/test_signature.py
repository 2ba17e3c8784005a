"""Signatures: what is signed, and that a backend takes nothing else for ours."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from proto.signature import TOLERANCE_S, is_signed, sign

SECRET, OTHER = "a secret of sixteen or more", "another secret of that length"
NOW = 1_796_000_000
BODY = b'{"client":"1","user":"zo\xc3\xab"}'


def test_the_form_that_other_languages_compute():
    digest = hmac.new(SECRET.encode(), b"1796000000." + BODY, hashlib.sha256).hexdigest()
    assert sign(SECRET, NOW, BODY) == f"t=1796000000,v1={digest}"


@pytest.mark.parametrize("body", [b"", BODY, bytes(range(256))])
def test_what_is_signed_is_accepted(body):
    assert is_signed([SECRET], sign(SECRET, NOW, body), body, NOW)


def test_a_body_a_time_or_a_secret_that_is_another_one_is_refused():
    signature = sign(SECRET, NOW, BODY)
    assert not is_signed([SECRET], signature, BODY + b" ", NOW)
    assert not is_signed([SECRET], signature.replace("t=1796000000", "t=1796000001"), BODY, NOW)
    assert not is_signed([OTHER], signature, BODY, NOW)


def test_a_recording_is_refused_and_a_clock_may_be_off_by_the_tolerance():
    signature = sign(SECRET, NOW, BODY)
    assert is_signed([SECRET], signature, BODY, NOW + TOLERANCE_S)
    assert is_signed([SECRET], signature, BODY, NOW - TOLERANCE_S)
    assert not is_signed([SECRET], signature, BODY, NOW + TOLERANCE_S + 1)
    assert not is_signed([SECRET], signature, BODY, NOW - TOLERANCE_S - 1)


def test_while_secrets_are_exchanged_both_are_accepted():
    assert is_signed([OTHER, SECRET], sign(SECRET, NOW, BODY), BODY, NOW)


def test_no_secret_or_an_empty_one_accepts_nothing():
    assert not is_signed([], sign(SECRET, NOW, BODY), BODY, NOW)
    assert not is_signed([""], sign("", NOW, BODY), BODY, NOW)


@pytest.mark.parametrize(
    "signature",
    ["", "t=,v1=", "x", "t=1796000000", "t=-1,v1=" + "0" * 64, "t=" + "9" * 5000 + ",v1=" + "0" * 64,
     "t=1796000000,v1=" + "é" * 64, sign(SECRET, NOW, BODY) + "\n", sign(SECRET, NOW, BODY).upper()],
)  # fmt: skip
def test_anything_malformed_is_no_signature(signature):
    assert not is_signed([SECRET], signature, BODY, NOW)
