"""One stage in several processes."""
