"""What only the whole can show: totals over all edges, how evenly they are loaded, how far the sessions service is.

The way of a figure: heartbeat -> `aggregator` (pure) -> `exposition` (Prometheus, names from `catalog`) and
`overview` (JSON).
"""
