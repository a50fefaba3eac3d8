"""Where a model's files are, and whether they belong together."""
