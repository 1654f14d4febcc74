"""What keeps a data directory in order: duties between flushes, and commands about them."""
