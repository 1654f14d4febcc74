"""The processes of a collector: the one that stays, the one that works, and all rooms joined in it."""
