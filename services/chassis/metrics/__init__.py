"""Metrics: what a series is, histograms for hot paths, and the page that Prometheus reads."""
