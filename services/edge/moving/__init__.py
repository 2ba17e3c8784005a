"""The way over from another server: what its configuration becomes, and what it does not."""
