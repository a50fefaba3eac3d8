"""How processes end: a child dies with the worker that started it, and with it everything that it started."""
