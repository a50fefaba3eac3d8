"""Disturb everything: ``python -m benchmarks.chaos.run --faults 1200 --seed 0 --page docs/benchmarks/chaos.md``.

Without ``--stages`` only what a person does is disturbed: no model is loaded, and a fault costs some milliseconds.
With ``--log`` every outcome is kept at once, and a run that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.chaos import seam

if TYPE_CHECKING:
    from benchmarks.chaos.operations import Operation
    from benchmarks.chaos.trial import Outcome, States

PARTS = ("calls", "torn", "endpoint", "processes")
"""What ``--parts`` names: disturbed calls, torn files, an endpoint that lies, processes stopped and killed."""


READS = 8
"""Of each operation so many reads fail."""


class OperationPlan(NamedTuple):
    """An operation with its start, its states without a disturbance and every place where it can be disturbed."""

    operation: Operation
    start: Path
    states: States
    places: Sequence[tuple[seam.Fault, int]]
    share: int


def main(argv: Sequence[str]) -> int:
    """Exit code 1 when a promise was broken."""
    args = _arguments(argv)
    seam.restart_with_seam()
    known = _kept(args.log)
    found = list(known.values())
    whole: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="middo-chaos-") as scratch:
        for outcome in _all_parts(args, Path(scratch).resolve(), known, whole):
            found.append(outcome)
            if outcome.faults:
                sys.stderr.write(f"{outcome}\n")
            if args.log:
                with args.log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(outcome._asdict()) + "\n")
    from benchmarks.chaos import page

    text = page.text(found, args, whole)
    if args.page:
        args.page.write_text(text, encoding="utf-8")
    sys.stdout.write(text if not args.json else json.dumps([one._asdict() for one in found]) + "\n")
    return int(any(one.faults for one in found))


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100, help="disturbed calls; 0: every call of every operation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", type=int, default=0, help="of these, how many of each of the nine stages")
    parser.add_argument("--every", default="", help="of these operations every call, however many are drawn of others")
    parser.add_argument("--only", default="", help="operations, separated by commas")
    parser.add_argument("--parts", default="calls", help=f"separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--trials", type=int, default=20, help="how many of processes that are stopped and killed")
    parser.add_argument("--log", type=Path, default=None, help="JSON lines; outcomes that are there are not repeated")
    parser.add_argument("--page", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def _kept(log: Path | None) -> dict[tuple[str, str, int], Outcome]:
    from benchmarks.chaos.trial import Outcome

    if log is None or not log.exists():
        return {}
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    found = [Outcome(**{**row, "faults": tuple(row["faults"])}) for row in rows]
    return {one.key: one for one in found}


def _all_parts(
    args: argparse.Namespace, folder: Path, known: dict[tuple[str, str, int], Outcome], whole: dict[str, int]
) -> Iterator[Outcome]:
    parts = args.parts.split(",")
    if args.stages or {"torn", "processes"} & set(parts):
        from benchmarks.chaos.starts import stage_starts

        (folder / "stages").mkdir()
        stage_starts(folder / "stages")
    if "calls" in parts:
        yield from _calls(args, folder, known, whole)
    if "torn" in parts:
        from benchmarks.chaos import torn

        yield from torn.trials(folder, known)
    if "endpoint" in parts:
        from benchmarks.chaos import endpoint

        yield from endpoint.trials(folder, known)
    if "processes" in parts:
        from benchmarks.chaos import processes

        yield from processes.trials(folder, known, args.trials, args.seed)


def _calls(
    args: argparse.Namespace, folder: Path, known: dict[tuple[str, str, int], Outcome], whole: dict[str, int]
) -> Iterator[Outcome]:
    """``whole`` gets the operations of which every place is disturbed, and how many those are."""
    from benchmarks.chaos import trial

    chosen, work, every = random.Random(args.seed), folder / "work", set(args.every.split(","))
    for plan in _plans(args, folder, work):
        some = _drawn(plan, chosen, args.seed)  # also where all are: the draws of the others stay as they are
        if not args.faults or plan.operation.name in every:
            some = plan.places
            whole[plan.operation.name] = len(some)
        for fault, at in sorted(some, key=lambda place: (seam.FAULTS.index(place[0]), place[1])):
            if (plan.operation.name, fault.name, at) not in known:
                yield trial.disturb(plan.operation, plan.start, work, fault, at, plan.states)


def _drawn(plan: OperationPlan, chosen: random.Random, seed: int) -> Sequence[tuple[seam.Fault, int]]:
    """As many as its share, all power cuts, which have few places, and some reads, which have most."""
    reads = [place for place in plan.places if place[0].kinds == seam.READ]
    cuts = [place for place in plan.places if place[0].mode == seam.POWER]
    others = [place for place in plan.places if place[0].kinds != seam.READ]
    some = chosen.sample(others, min(plan.share, len(others)))
    more = random.Random(f"{seed} {plan.operation.name}").sample(reads, min(READS, len(reads)))
    return list(dict.fromkeys([*some, *cuts, *more]))


def _plans(args: argparse.Namespace, folder: Path, work: Path) -> list[OperationPlan]:
    from benchmarks.chaos import starts, trial
    from benchmarks.chaos.operations import LIGHT
    from engine.loop import NAMES

    only = set(args.only.split(",")) - {""}
    operations = [(one, folder / starts.STARTS.get(one.name, "review")) for one in LIGHT]
    starts.person_starts(folder)
    if args.stages:
        operations += [(one, folder / "stages" / one.name) for one in starts.stage_operations()]
    wanted = [(one, start) for one, start in operations if not only or one.name in only]
    stages = [one for one, _ in wanted if one.name in NAMES]
    share = max(1, (args.faults - args.stages * len(stages)) // max(1, len(wanted) - len(stages)))
    out = []
    for one, start in wanted:
        states = trial.undisturbed(one, start, work)
        calls = {kinds: trial.calls(one, start, work, kinds) for kinds in {fault.kinds for fault in seam.FAULTS}}
        places = [(fault, at) for fault in seam.FAULTS for at in range(1, calls[fault.kinds] + 1)]
        out.append(OperationPlan(one, start, states, places, args.stages if one in stages else share))
    return out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
