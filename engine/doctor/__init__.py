"""Checks whether this machine can run a project. Findings with fixes: model files, memory, disk, versions, endpoint."""
