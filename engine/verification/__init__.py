"""May a rewrite be merged? Checks of its text, of its topic, and a verdict from the signals."""
