"""The forecast: the load of the coming week, with intervals, and when capacity runs out.

The steps: hours of the history -> `demand` (regular series) -> `worker` (a separate process, which loads the library)
-> `prediction` (quantiles for each hour) -> `outlook` (the answers).
"""
