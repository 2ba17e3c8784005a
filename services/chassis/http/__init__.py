"""A process's HTTP server: its limits, its sockets, health and metrics, and the API key of backends and operators."""
