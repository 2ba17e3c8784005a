"""The shell of one client: it carries out what the session decides, and nothing else closes the connection."""
