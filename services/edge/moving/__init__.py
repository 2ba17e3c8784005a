"""Moving from another server: what its configuration becomes, and which options have no counterpart."""
