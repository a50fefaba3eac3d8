"""Rows of a table of targets: what was aimed at, what was measured, whether that meets it, and what to know of it."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.measured import table


@dataclass(frozen=True, slots=True)
class Row:
    """``met`` None: a figure without a target."""

    measure: str
    target: str
    figure: str
    met: bool | None = None
    note: str = ""


def page(rows: list[Row]) -> str:
    """The table, and the notes below it by the row they belong to."""
    said = {True: "yes", False: "**no**", None: ""}
    notes = [row for row in rows if row.note]
    body = [
        [
            row.measure + (f" [{notes.index(row) + 1}]" if row.note else ""),
            row.target,
            row.figure,
            said[row.met],
        ]
        for row in rows
    ]
    below = "\n".join(f"{at}. {row.note}" for at, row in enumerate(notes, start=1))
    return "\n\n".join([table(["measure", "target", "measured", "met"], body), below]) + "\n"
