"""Errors of the package: one family, and they survive the way from one process to another, as in a task queue."""

from __future__ import annotations

import pickle

import pytest

from fairlead.errors import BadAnswer, BadSignature, CallRefused, FairleadError, Unavailable


@pytest.mark.parametrize("kind", [BadAnswer, BadSignature, CallRefused, Unavailable])
def test_one_except_catches_all(kind):
    assert issubclass(kind, FairleadError)


def test_a_refusal_is_the_same_in_another_process():
    refused = pickle.loads(pickle.dumps(CallRefused("publish", 102, "unknown channel")))
    assert (refused.method, refused.code, refused.message) == ("publish", 102, "unknown channel")
    assert str(refused) == "publish: 102 unknown channel"
