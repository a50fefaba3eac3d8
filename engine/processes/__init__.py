"""Child processes: what they inherit and import, what kills them when their worker goes away, and how they ended."""
