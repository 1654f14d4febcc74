"""Builds, starts and stops the rooms, and hands them the time."""
