"""File formats: memory-mapped files that processes share, and append-only logs."""
