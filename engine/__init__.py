"""The closed loop: fine-tune, diagnose, rewrite, verify, merge. Never imports the terminal app."""
