"""The metrics service: figures of the whole cluster, such as totals over all edges, how evenly edges are loaded, and
how far the sessions service has come.

The way of a figure: heartbeat -> `aggregator` (pure) -> `exposition` (Prometheus, names from `catalog`) and
`overview` (JSON).
"""
