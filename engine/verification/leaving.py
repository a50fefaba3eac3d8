"""What leaves the dataset with a merge, as pure rules: the merge stage follows them, and the card before it foretells
by them. Standard library only.
"""

from __future__ import annotations

from engine.chat.prompts import MALFORMED
from engine.verification.text_checks import CODES, FLAWED_AS_WELL


def useless(state: str, attempts: int, reason: str | None) -> bool:
    """Whether the checks or the signals refused a flawed sample's rewrite, or its prompt could not be repaired: no new
    prompt that came was one. Where the budget or the endpoint ended it nobody knows.
    """
    said = reason or ""
    code = said.partition(":")[0]
    if state == "failed":
        return attempts > 0 and (said.startswith(MALFORMED) or code in CODES)
    return state == "rejected" and code in FLAWED_AS_WELL


def room(size: int, added: int, dropped: int, target: int | None) -> int:
    """How many redundant samples have to leave for the dataset to keep its size: as many as were added, but for those
    that took the place of dropped ones. ``target``: the size that evidence holds on to, None for the ``size`` now.
    """
    if target is None:
        return max(0, added - dropped)
    return max(0, min(added, size + added - dropped - target))
