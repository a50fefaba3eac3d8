"""Disturb everything: ``python -m benchmarks.chaos.run --faults 1200 --seed 0 --page docs/benchmarks/chaos.md``.

Without ``--stages`` only what a person does is disturbed: no model is loaded, and a fault costs some milliseconds.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.chaos import seam

if TYPE_CHECKING:
    from benchmarks.chaos.trial import Outcome


def main(argv: Sequence[str]) -> int:
    """Exit code 1 when a promise was broken."""
    args = _arguments(argv)
    seam.restart_with_seam()
    with tempfile.TemporaryDirectory(prefix="middo-chaos-") as scratch:
        folder = Path(scratch).resolve()
        began = time.monotonic()
        found = list(_disturb_all(args, folder))
    from benchmarks.chaos import page

    text = page.text(found, time.monotonic() - began, args)
    if args.page:
        args.page.write_text(text, encoding="utf-8")
    sys.stdout.write(text if not args.json else json.dumps([one._asdict() for one in found]) + "\n")
    return int(any(one.faults for one in found))


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100, help="how many; 0: every call of every operation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", type=int, default=0, help="of these, how many of each of the nine stages")
    parser.add_argument("--only", default="", help="operations, separated by commas")
    parser.add_argument("--page", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def _disturb_all(args: argparse.Namespace, folder: Path) -> Iterator[Outcome]:
    from benchmarks.chaos import starts, trial
    from benchmarks.chaos.operations import LIGHT
    from engine.loop import NAMES

    only = set(args.only.split(",")) - {""}
    operations = [(one, folder / starts.STARTS.get(one.name, "review")) for one in LIGHT]
    starts.person_starts(folder)
    if args.stages:
        (folder / "stages").mkdir()
        starts.stage_starts(folder / "stages")
        operations += [(one, folder / "stages" / one.name) for one in starts.stage_operations()]
    chosen = random.Random(args.seed)
    work = folder / "work"
    planned = []
    for operation, start in operations:
        if only and operation.name not in only:
            continue
        states = trial.undisturbed(operation, start, work)
        places = [
            (fault, at) for fault in seam.FAULTS for at in range(1, trial.calls(operation, start, work, fault) + 1)
        ]
        planned.append((operation, start, states, places))
    stages = [plan for plan in planned if plan[0].name in NAMES]
    left = args.faults - args.stages * len(stages)
    share = max(1, left // max(1, len(planned) - len(stages)))
    for operation, start, states, places in planned:
        many = args.stages if operation.name in NAMES else share
        some = chosen.sample(places, min(many, len(places))) if args.faults else places
        for fault, at in sorted(some, key=lambda place: (seam.FAULTS.index(place[0]), place[1])):
            outcome = trial.disturb(operation, start, work, fault, at, states)
            if outcome.faults:
                sys.stderr.write(f"{outcome}\n")
            yield outcome


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
