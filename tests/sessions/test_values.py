"""Values of facts fit PostgreSQL, and what is told apart stays apart."""

from __future__ import annotations

from services.sessions.rows import MAX_LABEL_BYTES
from services.sessions.values import label


def test_a_label_that_fits_stays_as_it_is():
    for fits in ("", "edge-1", "x" * MAX_LABEL_BYTES, "\U0001f600" * (MAX_LABEL_BYTES // 4)):
        assert label(fits) == fits


def test_a_label_that_does_not_fit_is_cut_and_no_two_are_alike():
    long = [letter * MAX_LABEL_BYTES + end for letter in ("x", "\u00e9", "\u20ac", "\U0001f600") for end in ("a", "b")]
    hidden = ["a\0b", "a\0\0b", "\0" * MAX_LABEL_BYTES, "a\ufffdb"]
    labels = [label(each) for each in (*long, *hidden)]
    assert len(set(labels)) == len(labels)
    for value, found in zip((*long, *hidden), labels, strict=True):
        assert len(found.encode()) <= MAX_LABEL_BYTES and "\0" not in found
        assert found[0] == value[0].replace("\0", "\ufffd")
