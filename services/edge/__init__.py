"""The edge: clients on one side, NATS on the other. Stateless: it can be killed at any moment and no message is lost.

    in    transports -> framing -> connection (with session, which decides) -> channels/node -> broker -> NATS
    out   NATS -> broker -> channels/sync -> channels/channel_log (position rule) -> channels/subscribers -> sockets

A part imports only the parts below it (the layers are in pyproject.toml). A change of state contains no `await`:
whatever has to be awaited is awaited before it. docs/architecture.md follows one message through the files.
"""
