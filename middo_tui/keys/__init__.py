"""Key tables, and remapping them."""
