"""Which samples a round rewrites: thresholds, floors, memory and caps."""
