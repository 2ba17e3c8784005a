"""The edge's own metrics: the catalogue of its series, and their values when Prometheus asks."""
