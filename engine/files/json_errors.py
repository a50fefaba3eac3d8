"""What msgspec raises on bytes that are no JSON, or not the JSON that was expected."""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Not as declared, not UTF-8 (which is no DecodeError), nested too deeply."""
