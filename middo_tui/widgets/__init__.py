"""One file per widget: a pure function from data to lines, and a thin widget around it."""
