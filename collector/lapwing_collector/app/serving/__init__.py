"""The port of people, and what the collector says of itself."""
