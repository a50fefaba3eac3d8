"""How things lie on the disk: files that processes share and files that only grow."""
