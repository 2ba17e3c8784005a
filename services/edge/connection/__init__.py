"""The shell of one client: it carries out what the session decides, and is the only one that closes."""
