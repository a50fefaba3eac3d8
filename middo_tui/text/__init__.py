"""Numbers and facts in words: formats, notices, status, differences between texts."""
