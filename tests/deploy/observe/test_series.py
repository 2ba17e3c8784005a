"""The series of all catalogues follow the conventions of Prometheus."""

from __future__ import annotations

import subprocess
from functools import partial

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from deploy.series_page import CATALOGS
from services.chassis.metrics.histogram import Histogram
from services.chassis.metrics.page import Page, PageCollector
from services.chassis.metrics.series import Catalog

pytestmark = pytest.mark.observe


def page_of_everything() -> str:
    """All series of all services, each with a value."""
    registry = CollectorRegistry()
    for catalog in CATALOGS.values():
        registry.register(PageCollector(catalog, partial(_fill, catalog)))
    return generate_latest(registry).decode()


def _fill(catalog: Catalog, page: Page) -> None:
    for series in catalog.values():
        labels = ["x"] * len(series.labels)
        if series.kind == "histogram":
            page.put_histogram(series.name, Histogram(series.bounds), *labels)
        else:
            page.put(series.name, 1, *labels)


def test_promtool_has_nothing_to_say() -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=page_of_everything(), capture_output=True, text=True, timeout=60
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
