"""Mutated payloads and commands on two edges, which may run on two Pythons: none of them ends another client."""
