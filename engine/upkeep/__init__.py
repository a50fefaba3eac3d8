"""Looking after a project: check it, back it up, restore it, remove what nothing needs."""
