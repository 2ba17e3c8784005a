"""What an edge can carry: laws of its use of each resource, fitted to the figures of each minute, and their
consequences.

The steps: `Minute` -> `levels` (what each level of load costs) -> `laws` (usage as a function of load) -> `headroom`
(how many more connections, which resource binds, how many edges a load needs). All pure.
"""
