"""Rows that people bring by file, and the demo."""
