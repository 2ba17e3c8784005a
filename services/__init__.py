"""One folder, one process. The three services never import each other: they meet in `proto` and on NATS."""
