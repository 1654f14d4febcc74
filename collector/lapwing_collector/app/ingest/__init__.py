"""The way of a record: received, made durable, read back after a start, written to the lake."""
