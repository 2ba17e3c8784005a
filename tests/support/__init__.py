"""Support of tests: real servers, running services, and the one way to wait."""
