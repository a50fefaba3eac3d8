"""Finds a model's files and checks that they are complete and match."""
