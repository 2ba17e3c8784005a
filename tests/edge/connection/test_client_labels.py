"""A client cannot make a label."""

from __future__ import annotations

import pytest

from services.edge.connection.client_labels import library_of


@pytest.mark.parametrize(("name", "label"), [("js", "js"), ("python", "python"), ("JS", "other"), ("", "other")])
def test_only_stock_sdks_have_a_label_of_their_own(name: str, label: str):
    assert library_of(name) == label
    assert library_of(name + "\n") == "other"
