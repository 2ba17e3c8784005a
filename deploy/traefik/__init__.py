"""Traefik as Fairlead runs it: its routes in containers, TLS, and the keeper that starts it and stands in for it."""
