"""sqlite-utils without pandas and numpy, which it imports wherever they are installed: a second, and 60 MB."""

from __future__ import annotations

from engine.processes.hidden_packages import hidden

with hidden("pandas", "numpy"):
    from sqlite_utils import Database as Database
    from sqlite_utils import Migrations as Migrations
