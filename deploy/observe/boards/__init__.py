"""The dashboards, as a maintainer reads them: titles, queries, units. `python -m deploy.observe.dashboards` makes the
JSON that Grafana reads.
"""
