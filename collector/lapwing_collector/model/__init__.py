"""Values that rooms pass to each other; no behaviour beyond what keeps them valid."""
