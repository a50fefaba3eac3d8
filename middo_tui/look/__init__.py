"""Colors and user preferences."""
