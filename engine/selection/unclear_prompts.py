"""Does the teacher's answer say that the prompt names no task? Pure text.

An assistant that cannot tell what is wanted asks back at once, and briefly. That is evidence of a flawed prompt, which
no better answer repairs. English only: in other languages such an answer counts as any that disagrees.
"""

from __future__ import annotations

import re

BEGINNING, LONGEST = 160, 80
"""Characters within which an answer asks back; words of an answer that does no more than that."""
_ASKS = re.compile(
    r"(?:could|can|would) you (?:please )?(?:provide|clarify|specify|share|tell me|give me|send|paste)\b"
    r"|please (?:provide|clarify|specify|share|tell me|give me|send|paste|let me know)\b"
    r"|\b(?:need|require) (?:some )?(?:more|additional|further) (?:information|details?|context)\b"
    r"|\byou (?:did not|didn['’]t|have not|haven['’]t) (?:provide|specif|mention|includ|give)"
    r"|\byour (?:message|prompt|request|question|instruction) (?:is|seems|appears) (?:to be )?"
    r"(?:incomplete|missing|unclear|empty|cut off|too vague|vague|ambiguous)\b"
    r"|\bno (?:text|input|passage|sentence|list|code|question|context|data|article|topic|task) (?:was|is|has been)"
    r" (?:provided|given|included|specified)\b"
    r"|\bwhat (?:exactly )?(?:would you like|do you want|do you mean|are you (?:asking|looking|referring))\b"
    r"|\bnot (?:clear|sure) what (?:you|the task|the question|is being)\b",
    re.IGNORECASE,
)


def asks_back(answer: str) -> bool:
    """Whether ``answer`` does no more than ask what is wanted."""
    return len(answer.split(None, LONGEST)) <= LONGEST and _ASKS.search(answer[:BEGINNING]) is not None
