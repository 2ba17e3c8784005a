"""The message broker behind the edges: publications live, and the logs of channels with history."""
