"""What an edge can carry: laws of its use of each resource, fitted from the figures of each minute, and what follows.

The way: `Minute` -> `levels` (what each level of load costs) -> `laws` (usage as a function of load) -> `headroom`
(how many connections more, which resource binds, how many edges a load needs). All pure.
"""
