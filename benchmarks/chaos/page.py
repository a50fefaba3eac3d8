"""The page docs/benchmarks/chaos.md."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from benchmarks.chaos.seam import FAULTS
from benchmarks.chaos.trial import Outcome
from engine.loop import NAMES

HEAD = """\
# Chaos

What happens when a disk fails or a process dies, at any call? `make chaos` wraps what Python, SQLite and torch call
(open, read, write, fsync, rename, truncate, unlink; `benchmarks/chaos/faults.c`) and disturbs one call of an operation.
Then a second process looks. What a person does must be done whole or not at all; what said "done" must be done. The
operation is repeated, and every row of every table and every byte of every artifact must be as in an undisturbed run
(but for times and progress). `middo-tui check` must find nothing.

It also cuts files at every block, has a teacher's endpoint lie, hang and die at every request, stops and kills real
workers, their stage processes and an app that looks on, sets the clock of all processes of a run, and gives a stage's
process no more memory. Each case starts from a fresh copy of a project.
"""
MENDED = """\
## Found and mended

Each was found by such a disturbance or while it was written, and is held by a test.

- After a power cut, an export, a backup's folder, a fork or an artifact could be empty under its new name: it was
  renamed before its bytes were on the disk. All renames flush first now, and an artifact is on the disk before its row.
- A clock that is set made a live worker count as dead (its start was told by the wall clock) and a stage as stalled,
  and could make the wait before a round last a day. Start and heartbeat go by the steady clock; a jump is logged.
- Retry-After as a date was taken by this machine's clock; now by that of the server that says it.
- A reply of an endpoint that was nested too deeply left the stage waiting for ever. Replies without end, and small ones
  that unpack to much, took all memory. A redirect sent rows to an address that nobody had named. A negative count of
  tokens gave budget back. Another model's name went unnoticed. One that died with fewer than ten calls left was taken
  for rows that fail, which kept their originals; now somebody knocks, and the stage stops until it is there again.
- A stage that read a cut-off checkpoint or embeddings ended in a library's exception; it names the file and the way
  out. A cut-off note of what the score stage had begun stopped it for good.
- "Killed by signal 9" did not say that memory is the likely cause.
- An app that was stopped from outside and continued read keys twice: quitting could wait for ever, and left the
  terminal without echo.
- A disk that is full when the store is opened was blamed on the folder's owner, or on a damaged file.
"""


def text(found: Sequence[Outcome], args: argparse.Namespace, whole: Mapping[str, int]) -> str:
    """The whole page. ``whole``: how many places those operations have that were disturbed at each."""
    broken = [one for one in found if one.faults]
    lines = [
        HEAD,
        f"{len(found):,} faults (seed {args.seed}), {len(broken)} broken promises.\n",
        *_promises(broken),
        "",
    ]
    calls = [one for one in found if one.fault in {fault.name for fault in FAULTS}]
    rest = [one for one in found if one not in calls]
    if calls:
        lines += ["## Calls that fail, and deaths at a call\n", *_every(whole)]
        lines += _table("disturbed", calls, lambda one: one.operation)
        lines += ["", *_table("fault", calls, lambda one: one.fault), ""]
    parts: tuple[tuple[str, str, Callable[[Outcome], bool]], ...] = (
        ("Torn files", "looked at by", lambda one: one.fault == "torn file"),
        ("A teacher that lies, hangs or dies", "lie", lambda one: one.operation == "teacher's endpoint"),
        ("Processes stopped and killed", "what", lambda one: one.operation == "whole run"),
    )
    for title, by, chosen in parts:
        if some := [one for one in rest if chosen(one)]:
            of = (lambda one: one.operation) if title == "Torn files" else (lambda one: one.fault)
            lines += [f"## {title}\n", *_table(by, some, of), ""]
    if broken:
        lines += ["| broken | fault | call | what |", "|---|---|---|---|"]
        lines += [f"| {o.operation} | {o.fault} | {o.at} | {'; '.join(o.faults)[:300]} |" for o in broken]
        lines.append("")
    return "\n".join([*lines, *_said(found), "", MENDED])


def _every(whole: Mapping[str, int]) -> list[str]:
    """Which operations were disturbed at every call."""
    if not whole:
        return []
    told = [f"{name} ({count:,})" for name, count in whole.items()]
    names = " and ".join(filter(None, [", ".join(told[:-1]), told[-1]]))
    return [f"Disturbed at **every** call in every way: {names}. Of the others a seeded sample was drawn.\n"]


def _promises(broken: Sequence[Outcome]) -> list[str]:
    told = [" ".join(one.faults) for one in broken]
    counts = {
        "lost or changed decisions": sum("decision" in text or "override" in text for text in told),
        "lost, doubled or changed samples": sum("sample" in text for text in told),
        "corrupt stores": sum("database" in text for text in told),
        "errors that nobody handled": sum(one.ended in ("unhandled", "hung") for one in broken),
        "final datasets that differ": sum("differ" in text or "other rewrites" in text for text in told),
    }
    return ["| promise broken | times |", "|---|---|", *(f"| {name} | {count} |" for name, count in counts.items())]


def _table(first: str, found: Sequence[Outcome], of: Callable[[Outcome], str]) -> list[str]:
    lines = [
        f"| {first} | faults | done all the same | an error | died | broken promises |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(of(one) for one in found):
        lines.append(_row(name, [one for one in found if of(one) == name]))
    return [*lines, _row("all", found)]


def _row(name: str, found: Sequence[Outcome]) -> str:
    ended = Counter(one.ended for one in found)
    errors = len(found) - ended["ok"] - ended["died"]
    broken = sum(bool(one.faults) for one in found)
    return f"| {name} | {len(found):,} | {ended['ok']:,} | {errors:,} | {ended['died']:,} | {broken} |"


def _said(found: Sequence[Outcome]) -> list[str]:
    """One sentence for each kind of what torn files and killed processes made the program say."""
    said: dict[str, str] = {}
    for one in found:
        if one.said not in ("", "ok") and one.operation not in NAMES and one.fault in {"torn file", *_killed(found)}:
            said.setdefault(
                f"{one.operation}, {one.fault}" if one.operation == "whole run" else one.operation, one.said
            )
    if not said:
        return []
    cells = ((name, _shown(text)) for name, text in said.items())
    return [
        "| what | what the program says, for example |",
        "|---|---|",
        *(f"| {name} | {text} |" for name, text in cells),
    ]


def _shown(text: str) -> str:
    return re.sub(r"/\S*?/P/", "", " ".join(text.split())).replace("|", "¦")[:240]


def _killed(found: Sequence[Outcome]) -> set[str]:
    return {one.fault for one in found if one.operation == "whole run"}
