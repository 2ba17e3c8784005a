"""Channels as this edge has them open: who is in them, where their log stands, what is given to whom."""
