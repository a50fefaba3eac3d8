"""Phrases of a verdict that other parts look for: what is doubted of a rewrite most seriously."""

DRIFTED = "its answer is no likelier after the original's prompt than after a random one"
OFF_TOPIC = "of random samples share as much with the original"
