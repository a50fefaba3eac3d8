"""The embedded demo: a small world with exact answers, a flawed dataset about it, and two small models of it."""
