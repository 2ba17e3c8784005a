"""What the load of the coming week will be, with intervals, and when capacity runs out.

The way: hours of the history -> `demand` (one regular series) -> `worker` (a process of its own, which has the library)
-> `prediction` (quantiles for each hour) -> `outlook` (the answers).
"""
