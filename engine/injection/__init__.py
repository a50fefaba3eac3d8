"""Does a text speak to its judge or teacher instead of to its user? Pure functions on text, standard library only."""

RULES_VERSION = 1
"""Raise it when the rules find other texts than before: samples that were flagged by older ones are searched again."""
