"""The closed loop: fine-tune, diagnose, rewrite, verify, merge. Rooms and one round's calls: docs/ARCHITECTURE.md."""
