"""The page docs/benchmarks/chaos.md."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

from benchmarks.chaos.seam import FAULTS
from benchmarks.chaos.trial import Outcome

HEAD = """\
# Chaos

What happens when a disk fails or a process dies, at any call? `make chaos` wraps what Python, SQLite and torch call
(open, read, write, fsync, rename, truncate, unlink; `benchmarks/chaos/faults.c`) and disturbs one call of an operation.
Then a second process looks. What a person does must be done whole or not at all; what said "done" must be done. The
operation is repeated, and every row of every table and every byte of every artifact must be as in an undisturbed run.
`middo-tui check` must find nothing.
"""


def text(found: Sequence[Outcome], seconds: float, args: argparse.Namespace) -> str:
    """The whole page."""
    broken = [one for one in found if one.faults]
    which = "Seeded draws" if args.faults else "Every call"
    lines = [
        HEAD,
        f"{which}: {len(found):,} faults in {seconds / 60:.1f} min (seed {args.seed}),"
        f" {len(broken)} broken promises.\n",
    ]
    lines += [
        "| disturbed | faults | done all the same | an error | died | broken promises |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(one.operation for one in found):
        lines.append(_row(name, [one for one in found if one.operation == name]))
    lines += [_row("all", found), "", "| fault | faults | done all the same | an error | died | broken promises |"]
    lines.append("|---|---|---|---|---|---|")
    for fault in FAULTS:
        if some := [one for one in found if one.fault == fault.name]:
            lines.append(_row(fault.name, some))
    if broken:
        lines += ["", "| broken | fault | call | what |", "|---|---|---|---|"]
        lines += [f"| {o.operation} | {o.fault} | {o.at} | {'; '.join(o.faults)[:300]} |" for o in broken]
    return "\n".join(lines) + "\n"


def _row(name: str, found: Sequence[Outcome]) -> str:
    ended = Counter(one.ended for one in found)
    errors = len(found) - ended["ok"] - ended["died"]
    broken = sum(bool(one.faults) for one in found)
    return f"| {name} | {len(found):,} | {ended['ok']:,} | {errors:,} | {ended['died']:,} | {broken} |"
