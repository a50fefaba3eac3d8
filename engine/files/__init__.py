"""Files and folders: memory-mapped files that processes share, append-only logs, folders that go with their process."""
