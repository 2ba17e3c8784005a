"""A process's one connection to NATS, and what every service does over it: requests, headers, streams."""
