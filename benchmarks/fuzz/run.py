"""Try many cases: ``python -m benchmarks.fuzz.run --cases 100000 --seed 0 --page docs/benchmarks/fuzz.md``."""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.fuzz.giants import Giant, read_all
from benchmarks.fuzz.mutations import mutate
from benchmarks.fuzz.targets import Target, targets

CORPUS = Path(__file__).resolve().parents[2] / "tests" / "corpus"
LIMIT_S = 20
"""Seconds after which a case counts as hung."""


class Tried(NamedTuple):
    """What came of the cases of one target."""

    name: str
    cases: int
    read: int
    refused: int
    slowest: float
    broken: tuple[str, ...]


class Hung(BaseException):
    """A case took too long."""


def main(argv: Sequence[str]) -> int:
    """Exit code 1 when a case broke something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", action="store_true", help="keep cases that break something in tests/corpus")
    parser.add_argument("--giants", action="store_true", help="also files that want all memory (minutes)")
    parser.add_argument("--page", type=Path, default=None)
    args = parser.parse_args(argv)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="middo-fuzz-", dir=_memory()) as scratch:
        chosen = [one for one in targets(Path(scratch)) if not args.only or one.name in args.only.split(",")]
        total = sum(one.share for one in chosen)
        found = [try_target(one, round(args.cases * one.share / total), args, Path(scratch)) for one in chosen]
    giants = list(_giants()) if args.giants else []
    text = page(found, time.monotonic() - began, args.seed, giants)
    sys.stdout.write(text)
    if args.page:
        args.page.write_text(text, encoding="utf-8")
    return int(any(one.broken for one in found) or any(one.broken for one in giants))


def _giants() -> Iterator[Giant]:
    with tempfile.TemporaryDirectory(prefix="middo-giants-") as scratch:
        yield from read_all(Path(scratch))


def _memory() -> str | None:
    """A folder in memory, where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


def try_target(target: Target, cases: int, args: argparse.Namespace, scratch: Path) -> Tried:
    """The kept cases of the corpus, the seeds, then mutations of all of them."""
    chance = random.Random(f"{args.seed} {target.name}")
    kept = [path.read_bytes() for path in sorted(folder(target).glob("*"))]
    pool = [*target.seeds, *kept]
    read = refused = 0
    slowest, broken = 0.0, {}
    for number in range(max(cases, len(pool))):
        case = pool[number] if number < len(pool) else mutate(chance, chance.choice(pool), pool)
        began = time.process_time()
        fault = attempt(target, case, scratch)
        slowest = max(slowest, time.process_time() - began)
        read, refused = read + (fault == ""), refused + (fault is None)
        if fault and fault not in broken:
            broken[fault] = case
            sys.stderr.write(f"{target.name}: {fault}\n")
            if args.keep:
                folder(target).mkdir(parents=True, exist_ok=True)
                (folder(target) / hashlib.blake2b(case, digest_size=8).hexdigest()).write_bytes(case)
    return Tried(target.name, max(cases, len(pool)), read, refused, slowest, tuple(broken))


def folder(target: Target) -> Path:
    """Where the kept cases of ``target`` lie."""
    return CORPUS / target.name.replace(" ", "-").replace(":", "")


def attempt(target: Target, case: bytes, scratch: Path) -> str | None:
    """Empty: it was read; None: refused with a typed error; else what broke, in one line."""
    before = signal.signal(signal.SIGALRM, _hung)
    signal.alarm(LIMIT_S)
    try:
        target.read(case, scratch)
    except target.allowed:
        return None
    except Hung:
        return f"hung for {LIMIT_S} s"
    except Exception as error:  # noqa: BLE001 - what is looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        return (
            f"{type(error).__name__}: {str(error)[:120]!r} at {Path(place.filename).name}:{place.lineno} {place.name}"
        )
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return ""


def _hung(number: int, frame: object) -> None:
    raise Hung


def page(found: Sequence[Tried], seconds: float, seed: int, giants: Sequence[Giant] = ()) -> str:
    """The page docs/benchmarks/fuzz.md."""
    cases, broken = sum(one.cases for one in found), sum(len(one.broken) for one in found)
    lines = [
        "# Fuzzing\n",
        "Everything that reads from outside is given mutations of valid input (`make fuzz`; `benchmarks/fuzz`): bytes",
        "changed, cut, doubled and spliced, JSON values replaced. It must be read, or refused with an error that a",
        "person can act on (a bad row is quarantined with its reason). Whatever else happens is broken. Cases that",
        "once broke something are kept in `tests/corpus` and tried by the tests.\n",
        f"{cases:,} cases in {seconds / 60:.1f} min (seed {seed}); {broken} broken.\n",
        "| input | cases | read | refused | slowest, s of CPU | broken |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        lines.append(
            f"| {one.name} | {one.cases:,} | {one.read:,} | {one.refused:,} | {one.slowest:.2f} | {len(one.broken)} |"
        )
    lines += ["", *(f"- {one.name}: {fault}" for one in found for fault in one.broken)]
    if giants:
        lines += ["", "Files that want all memory, each read by a process of its own:\n"]
        lines += ["| file | ended | s | most memory, MB |", "|---|---|---|---|"]
        lines += [f"| {one.name} | {one.ended} | {one.seconds:.0f} | {one.memory_mb:,.0f} |" for one in giants]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
