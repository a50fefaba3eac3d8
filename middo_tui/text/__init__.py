"""Formats numbers, notices, the status and differences between texts for people to read."""
