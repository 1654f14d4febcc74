"""Evaluations before a release, and reports."""
