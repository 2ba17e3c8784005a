"""Histograms count what prometheus-client would count."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as Original

from services.chassis.metrics.histogram import THE_REST, Exemplar, Histogram, LabelledHistogram
from services.chassis.metrics.page import Page, PageCollector
from services.chassis.metrics.series import catalog, counter, gauge, histogram
from services.edge.channel_settings import Namespace

BOUNDS = (0.001, 0.01, 0.1, 1.0)
observations = st.lists(st.sampled_from([*BOUNDS, 0.0, 0.0005, 0.02, 0.5, 3.0, 1e9]), max_size=30)


@given(observations)
def test_buckets_are_those_of_prometheus_client(values):
    registry = CollectorRegistry()
    original = Original("x", "y", registry=registry, buckets=BOUNDS)
    ours = Histogram(BOUNDS)
    for value in values:
        original.observe(value)
        ours.observe(value)
    page = Page(catalog(histogram("x", "seconds", BOUNDS, "y")))
    page.put_histogram("x", ours)
    shown = {(sample.name, sample.labels.get("le")): sample.value for one in page.families() for sample in one.samples}
    expected = {
        (sample.name, sample.labels.get("le")): sample.value
        for one in registry.collect()
        for sample in one.samples
        if sample.name != "x_created"
    }
    assert shown == expected


def test_an_observation_may_stand_for_many():
    once, often = Histogram(BOUNDS), Histogram(BOUNDS)
    often.observe(0.25, times=3)
    for _ in range(3):
        once.observe(0.25)
    assert (once.counts, once.sum, once.count) == (often.counts, often.sum, 3)


def test_a_bucket_names_the_trace_of_its_newest_exemplar():
    ours = Histogram(BOUNDS)
    ours.observe(0.05)
    ours.attach(Exemplar(0.05, "aa", 1.0))
    ours.attach(Exemplar(0.06, "bb", 2.0))
    assert [exemplar and exemplar.trace_id for _, _, exemplar in ours.buckets()] == [None, None, "bb", None, None]


def test_labels_are_bounded():
    ours = LabelledHistogram(BOUNDS, limit=2)
    for label in ("a", "b", "c", "d", "a"):
        ours.of(label).observe(0.5)
    assert {labels: one.count for labels, one in ours.by_label.items()} == {("a",): 2, ("b",): 1, ("(other)",): 2}
    ours.of("a", "x").observe(0.5)
    assert ours.by_label["(other)", "(other)"].count == 1


def test_a_page_takes_only_what_its_catalogue_has():
    page = Page(catalog(gauge("here", "1", "x", "label"), counter("counted", "1", "y")))
    page.put("here", 1, "value")
    page.put("counted", 2)
    for wrong in (lambda: page.put("gone", 1), lambda: page.put("here", 1), lambda: page.put("counted", 1, "extra")):
        try:
            wrong()
        except (KeyError, ValueError):
            continue
        raise AssertionError("it was taken")
    samples = {sample.name: sample.value for one in page.families() for sample in one.samples}
    assert samples == {"here": 1, "counted_total": 2}


def test_series_stay_when_they_have_no_value():
    registry = CollectorRegistry()
    registry.register(PageCollector(catalog(gauge("here", "1", "x", "label")), lambda page: None))
    assert [one.name for one in registry.collect()] == ["here"]


def test_no_namespace_is_called_as_those_beyond_the_limit():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": THE_REST}, Namespace)
