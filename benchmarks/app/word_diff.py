"""How long a word difference takes, beside difflib: ``python -m benchmarks.app.word_diff [--out FILE]``.

Texts of 3,000 invented words, as unevenly frequent as those of a language (Zipf), of which a share was replaced. CPU
time of the fastest of some tries, because the wall clock of a shared machine says little.
"""

from __future__ import annotations

import argparse
import difflib
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path

from middo_tui.feed.rewrite import TextBlock
from middo_tui.text.word_diff import diff
from middo_tui.widgets.word_diff import laid_out

WORDS = 3_000
VOCABULARY = 2_000
TRIES = 3
SHARES = (0.02, 0.1, 0.3, 0.6, 1.0)
TARGET_MS = 100


def pair(share: float, seed: int = 0) -> tuple[str, str]:
    """A text, and the same with ``share`` of its words drawn anew."""
    rng = random.Random(seed)
    weights = [1 / rank for rank in range(1, VOCABULARY + 1)]
    words = [f"word{n}" for n in rng.choices(range(VOCABULARY), weights, k=WORDS)]
    others = [f"word{n}" for n in rng.choices(range(VOCABULARY), weights, k=WORDS)]
    changed = [other if rng.random() < share else word for word, other in zip(words, others, strict=True)]
    return " ".join(words), " ".join(changed)


def cpu_ms(work: Callable[[], object], tries: int = TRIES) -> float:
    """The fastest try."""
    best = float("inf")
    for _ in range(tries):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best * 1000


def difflib_words(old: str, new: str) -> None:
    """The standard library's answer, on the same words."""
    difflib.SequenceMatcher(None, old.split(), new.split(), autojunk=False).get_opcodes()


def rows() -> list[tuple[str, float, float, float, int]]:
    """Share, our time, difflib's, the time to lay the page out at 80 columns, and the parts found."""
    out = []
    for share in SHARES:
        old, new = pair(share)
        parts = diff(old, new)
        ours = cpu_ms(lambda old=old, new=new: diff(old, new))  # type: ignore[misc]
        theirs = cpu_ms(lambda old=old, new=new: difflib_words(old, new), tries=1)  # type: ignore[misc]
        blocks = (TextBlock("response", parts),)
        drawn = cpu_ms(lambda blocks=blocks: laid_out.__wrapped__(blocks, False, True, 80))  # type: ignore[misc]
        out.append((f"{share:.0%}", ours, theirs, drawn, len(parts)))
    return out


def report(found: list[tuple[str, float, float, float, int]]) -> str:
    """The page for the documentation."""
    lines = [
        "# Word differences",
        "",
        f"Texts of {WORDS:,} words from a vocabulary of {VOCABULARY:,} (frequencies by Zipf), a share of them replaced."
        f" CPU milliseconds, fastest of {TRIES} (difflib: once), Python {platform.python_version()}. Made by"
        " `python -m benchmarks.app.word_diff --out docs/benchmarks/word-diff.md`.",
        "",
        "| words replaced | diff, ms | difflib on words, ms | laying out at 80 columns, ms | parts shown |",
        "|---:|---:|---:|---:|---:|",
        *(f"| {name} | {ours:.0f} | {theirs:.0f} | {drawn:.0f} | {n:,} |" for name, ours, theirs, drawn, n in found),
        "",
        f"The target is {TARGET_MS} ms a difference. The app finds it in a reading thread, remembers it, and finds the"
        " next three ahead, so that going on to the next rewrite shows what is already there.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    text = report(rows())
    out = parser.parse_args().out
    if out is None:
        print(text)
    else:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
