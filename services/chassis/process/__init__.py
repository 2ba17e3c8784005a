"""A process from its start to its end: settings, log, tasks, its use of CPU and memory, its heartbeat."""
