"""The Samples screen: a round's dataset as a table."""
