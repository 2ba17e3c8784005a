"""Backends, which are the application's own code: RPC, hooks, messages."""
