"""What tests stand on: real servers, running services, and the one way to wait."""
