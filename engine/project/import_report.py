"""The result of an import, to report to the person."""

from __future__ import annotations

from dataclasses import dataclass

from engine.plurals import counted


@dataclass(frozen=True, slots=True)
class Added:
    """What an import did: rows taken into the dataset, rows held out, exact duplicates among them, rows quarantined.

    copies: of the rows held out, those whose prompt another file's held-out row has. barred: of the rows quarantined,
    those whose prompt is in the held-out file. both: rows that are trained on although their prompts are held out, as
    [data] allow_overlap asks. notes: what a person must know of columns and turns. reasons: the most frequent ones of
    the rows quarantined.
    """

    file: str
    format: str
    rows: int
    heldout: int
    duplicates: int
    rejected: int
    copies: int = 0
    barred: int = 0
    none_held: bool = False
    notes: tuple[str, ...] = ()
    reasons: tuple[tuple[str, int], ...] = ()
    both: int = 0

    def overlaps(self) -> list[str]:
        """Sentences about rows whose prompts are both in the training data and held out."""
        out = []
        its, their = "row is {} because its prompt is", "rows are {} because their prompts are"
        if self.copies:
            out.append(f"{counted(self.copies, its, their).format('held out')} already held out")
        if self.barred:
            out.append(f"{counted(self.barred, its, their).format('excluded')} in the held-out set")
        if self.both:
            both = counted(
                self.both, "row is trained on although its prompt is", "rows are trained on although their prompts are"
            )
            out.append(f"{both} held out (allow_overlap), so scores on them measure memorisation")
        if self.none_held:
            out.append("no row is held out: too few distinct prompts (all copies of a prompt are held out together)")
        return out
