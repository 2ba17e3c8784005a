"""Clients of this edge: what they may do, what they are told, and what becomes of each connection."""
