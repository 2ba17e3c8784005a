"""The application's own code behind NATS: RPC, hooks, messages."""
