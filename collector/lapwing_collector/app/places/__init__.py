"""Where a project and its data are, what was configured, and whose they are."""
