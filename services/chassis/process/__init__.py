"""A process from its start to its end: settings, log, vital tasks, its own use of CPU and memory, its heartbeat."""
