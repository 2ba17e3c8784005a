"""The server API for backends: what each method does, over HTTP and over NATS."""
