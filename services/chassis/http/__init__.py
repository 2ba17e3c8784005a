"""A process's HTTP server: limits on requests, sockets of long responses, health and metrics, API key, OpenAPI."""
