"""How work behind everything else is paced and repeated."""
