"""One SQLite file holds everything the loop knows. Readers need only the standard library."""
