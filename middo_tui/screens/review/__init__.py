"""The Review screen: rewrites as diffs, and decisions."""
