"""Terminal input and output: cleans text, paces frames, and skips cells that are already shown."""
