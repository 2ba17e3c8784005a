"""Channels that are open on this edge: their subscribers, their logs, their members, and the fan-out."""
