"""How Fairlead runs Traefik: its routes in containers, TLS, and the keeper that starts it and stands in for it."""
