"""Reasons of rejections, to count them: what is the same in many."""

from __future__ import annotations

import re


def kind(reason: str) -> str:
    """A reason without what is particular to one rewrite: its first clause, with an ellipsis for each figure."""
    head, colon, rest = re.split(r"[;(]", reason, maxsplit=1)[0].strip().partition(": ")
    return re.sub(r"#?\d[\d.,]*", "…", f"{head}{colon}{rest.partition(': ')[0]}") or "no reason was given"
