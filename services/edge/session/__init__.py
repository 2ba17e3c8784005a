"""One client's conversation: a pure core that takes events and returns effects."""
