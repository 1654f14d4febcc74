"""What people and tools are told of a lake: SQL, models, kept evaluations."""
