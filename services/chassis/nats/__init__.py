"""A process's one connection to NATS (`link`), and what services do over it: requests, headers, streams."""
