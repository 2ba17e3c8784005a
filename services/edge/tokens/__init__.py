"""Tokens (JWT), and the keys with which they are signed."""
