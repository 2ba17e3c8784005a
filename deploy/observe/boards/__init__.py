"""The dashboards in a form for maintainers: titles, queries, units. `python -m deploy.observe.dashboards` makes the
JSON that Grafana reads.
"""
