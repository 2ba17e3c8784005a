"""docs/metrics.md has what the catalogues say."""

from __future__ import annotations

from deploy.series_page import PAGE, render


def test_the_page_is_the_one_that_the_catalogues_make():
    assert PAGE.read_text() == render(), "run .venv/bin/python -m deploy.series_page"
