"""The wizard that creates a project."""
