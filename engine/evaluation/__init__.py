"""lm-eval's tasks, run in processes of their own."""
