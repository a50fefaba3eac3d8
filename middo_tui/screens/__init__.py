"""One file per screen, each with its style sheet beside it."""
