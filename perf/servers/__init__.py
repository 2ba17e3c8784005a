"""perf's own servers (NATS, PostgreSQL, edges, the sessions service): how they are started, and read."""
