"""Backends, that is the application's own code: RPC, hooks, messages."""
