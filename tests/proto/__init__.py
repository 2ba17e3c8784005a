"""The contract against its reference and its golden vectors."""
