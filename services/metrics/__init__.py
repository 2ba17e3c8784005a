"""The metrics service: figures of the whole cluster, such as totals over all edges, how evenly edges are loaded, and
the progress of the sessions service.

The path of a figure: heartbeat -> `aggregator` (pure) -> `exposition` (Prometheus, names from `catalog`) and `overview`
(JSON).
"""
