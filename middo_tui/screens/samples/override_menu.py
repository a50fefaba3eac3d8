"""What a person may want of samples, whatever their signals say; see ``engine.store.overrides``."""

from __future__ import annotations

from middo_tui.screens.letter_menu import LetterChoice, LetterMenu

CHOICES = (
    LetterChoice("protect", "p", "protect", "never rewritten or retired"),
    LetterChoice("rewrite quality", "q", "rewrite for quality", "selected next, whatever its signals say"),
    LetterChoice("rewrite complexity", "c", "rewrite for complexity", "selected next, whatever its signals say"),
    LetterChoice("rewrite diversity", "n", "add a new sample like it", "selected next, whatever its signals say"),
    LetterChoice("clear", "u", "clear", "let the signals decide again"),
    LetterChoice("drop", "d", "drop", "leaves the dataset at the next merge"),
)
"""What changes least comes first, as Enter chooses it at once; what takes a sample away comes last."""


def override_menu(count: int) -> LetterMenu:
    """The menu for ``count`` samples. Dismisses with a value of ``CHOICES``."""
    what = "this sample" if count == 1 else f"{count:,} samples"
    return LetterMenu(f"Override what happens to {what}. Press a letter, or Enter.", CHOICES, "override")
