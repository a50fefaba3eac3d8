"""Plans batches over all rows, not over the remaining ones, so that a resumed run computes the same batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

SHORTER = 0.08
LEAST = 32
"""A row shorter than the batch's longest by this share begins a new batch, once the one before holds 1/LEAST of
the budget: a small dataset's lengths lie far apart, and without it 200 Alpaca rows are 18 % padding instead of 3 %.
"""


def plan(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Row indices in batches of at most ``token_budget`` padded tokens (a longer row is its own batch).

    Longest first, so that a batch that does not fit into memory shows at the start and the ETA errs on the
    safe side; rows of equal length stay in order. Length buckets: 2.3 times fewer padded tokens than batches
    of 8 in file order (999 Alpaca rows).
    """
    batches: list[list[int]] = []
    width = 0
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        full = not batches or (len(batches[-1]) + 1) * width > token_budget
        if not full and lengths[row] < (1 - SHORTER) * width:
            full = len(batches[-1]) * width * LEAST >= token_budget
        if full:
            batches.append([])
            width = max(lengths[row], 1)
        batches[-1].append(row)
    return batches


def fill(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Row indices, longest first, in batches of at most ``token_budget`` tokens, padding excluded.

    For work that lays a batch out by itself and gains from a large one.
    """
    batches: list[list[int]] = []
    room = 0
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not batches or lengths[row] > room:
            batches.append([])
            room = token_budget
        batches[-1].append(row)
        room -= lengths[row]
    return batches


def unfinished(plan: Sequence[list[int]], there: Callable[[int], bool], done: int = 0) -> list[tuple[list[int], int]]:
    """The batches of ``plan`` of which a row is not ``there``, each with how many rows are done when it is, from
    ``done`` on.
    """
    out: list[tuple[list[int], int]] = []
    for batch in plan:
        done += len(batch)
        if not all(map(there, batch)):
            out.append((batch, done))
    return out


def seed(*parts: object) -> int:
    """A 31-bit seed derived from ``parts``, so that sampling is the same after a resume."""
    text = "\x00".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1
