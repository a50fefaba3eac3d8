"""The terminal app: reads the store, shows it, and writes what a person wants. It never runs the loop itself."""
