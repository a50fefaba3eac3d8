"""Process lifetimes (a child process and everything it started die with the worker that started it), and what a process
imports."""
