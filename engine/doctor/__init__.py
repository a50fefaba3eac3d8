"""Can this machine run this project? Findings with their fix: model files, memory, disk, versions, endpoint."""
