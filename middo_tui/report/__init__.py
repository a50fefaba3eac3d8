"""A finished project as one HTML page to send to a colleague: no script, no other file, and dataset text stays text."""
