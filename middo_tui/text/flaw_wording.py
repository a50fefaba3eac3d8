"""What the flaw score and the lenses say of a sample, in words. See METHOD.md, "Lenses and the flaw score"."""

from __future__ import annotations

READINGS = {
    "end_of_turn": "it stops before it is complete",
    "ifd": "the prompt does not help to predict the answer",
    "worst_window": "a stretch of it is unlikely text",
    "quality": "the judge rates it low",
}
"""What a high rank on a lens suggests of the answer."""
SIGNS = {
    "empty": "it is empty",
    "loop": "it repeats itself without end",
    "copied_prompt": "it repeats the prompt",
    "leaked_request": "it contains parts of a request",
    "refusal": "it refuses",
    "odd_form": "it is in a format that nobody asked for",
}
"""What an answer's text alone shows; the names are those of ``engine.signals.text_signs``."""
NAMES = {"end_of_turn": "end of turn", "ifd": "IFD", "worst_window": "worst window", "quality": "rating"}
MEASURES = {
    "end_of_turn": "the last token",
    "ifd": "with / without prompt",
    "worst_window": "of 16 tokens",
}
SUSPICIOUS = 0.95
"""From this rank on the reading is said; below, only the figures. For display alone: nothing is selected by it."""


def verdict(flaw: float | None, lens: str) -> str:
    """What looks wrong with a sample; empty where nothing stands out."""
    if lens in SIGNS:
        return SIGNS[lens]
    if flaw is None or flaw < SUSPICIOUS or lens not in READINGS:
        return ""
    return f"{READINGS[lens]} ({NAMES[lens]}; looks worse than {min(flaw, 0.999):.1%} of samples)"
