"""The causes, by area."""
