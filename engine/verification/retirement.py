"""What leaves the dataset with a merge, as pure rules: the merge stage follows them, and the card before it foretells
by them. Standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import NamedTuple

from engine.chat.prompts import MALFORMED
from engine.verification.text_checks import CODES, FLAWED_AS_WELL


class Suspect(NamedTuple):
    """A sample that was selected for complexity or quality, and what came of its rewrite; no state: there is none.

    ``threshold``: the selection's, not finite where a person requested it.
    """

    sample_id: int
    threshold: float
    state: str | None = None
    attempts: int = 0
    reason: str | None = None
    probe: bool = False


def flawed(suspects: Iterable[Suspect], evidence: str | None, all_selected: bool) -> set[int]:
    """The samples that are dropped for being flawed, whoever else has a word on them.

    Args:
        evidence: the JSON detail of the round's threshold by evidence; None: it selected by another rule.
        all_selected: ``merge.flawed = "drop"``.
    """
    if evidence is not None and not json.loads(evidence).get("certain"):
        return set()  # the teacher's answers did not tell flaws from chance
    ruled = (one for one in suspects if math.isfinite(one.threshold))  # not what was requested by hand
    return {one.sample_id for one in ruled if all_selected or (one.probe and _is_useless(one))}


def _is_useless(one: Suspect) -> bool:
    return one.state is not None and useless(one.state, one.attempts, one.reason)


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
