"""Our diagnosis against the published procedure: one machine, one model, the same rows, each piece in its own process.

    python -m benchmarks.engine.diagnose --data alpaca_1k.json --rows 300 --growth 1000 10000 100000

writes docs/benchmarks/diagnose.md. Ours are the real stages, store writes included. The model after training is stood
in for by the demo's teacher, which has the base's shape and tokenizer.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ROOT
from benchmarks.engine.diagnose_pieces import PIECES
from benchmarks.measured import machine, piece, run_piece, table

DOCUMENT = ROOT / "docs" / "benchmarks" / "diagnose.md"
Results = dict[str, tuple[dict[str, float], Any]]

PUBLISHED = {
    "losses and embeddings": ("published-embeddings", "published-loss-before", "published-loss-after"),
    "ratings": ("published-ratings",),
    "neighbours": ("published-neighbours",),
}
OURS = {"losses and embeddings": ("our-score",), "ratings": ("our-ratings",), "neighbours": ("our-neighbours",)}


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.diagnose", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Alpaca rows as JSON")
    parser.add_argument("--rows", type=int, default=300, help="rows of the comparison")
    parser.add_argument("--rated", type=int, default=24, help="of these, rows that are rated: drawing takes long")
    parser.add_argument("--growth", type=int, nargs="*", default=[], help="dataset sizes of the growth table")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.piece:
        run_piece(lambda: PIECES[options.piece](options.out.parent, options.data, options.rows), options.out)
        return 0
    said = [options.data.name if Path(word) == options.data else word for word in arguments]
    command = shlex.join(["python", "-m", "benchmarks.engine.diagnose", *said])
    with tempfile.TemporaryDirectory(prefix="middo-diagnose-") as scratch:
        options.document.parent.mkdir(parents=True, exist_ok=True)
        found = compare(Path(scratch), options.data, options.rows, options.rated)
        options.document.write_text(report(command, found, []), encoding="utf-8")
        grown = []
        for size in options.growth:
            grown.append(growth(Path(scratch), options.data, size))
            options.document.write_text(report(command, found, grown), encoding="utf-8")
    return 0


def compare(scratch: Path, data: Path, rows: int, rated: int) -> Results:
    """Every piece once, in an order in which each finds what it needs of the ones before."""
    names = [n for group in (PUBLISHED, OURS) for pieces in group.values() for n in pieces]
    order = ["project", *names, "our-parity", "agreement"]
    out = {}
    for name in order:
        count = rated if name.endswith("ratings") else rows
        out[name] = piece(__file__, name, scratch, ["--data", str(data), "--rows", str(count)])
        out[name][0]["rows"] = count
    return out


def growth(scratch: Path, data: Path, size: int) -> tuple[int, dict[str, float], dict[str, float]]:
    """The score and judge stages on ``size`` rows under a tiny random model."""
    folder = scratch / f"growth-{size}"
    folder.mkdir()
    how = ["--data", str(data), "--rows", str(size)]
    piece(__file__, "growth-project", folder, how)
    scored, _ = piece(__file__, "growth-score", folder, how)
    judged, _ = piece(__file__, "growth-judge", folder, how)
    return size, scored, judged


def report(command: str, found: Results, grown: Sequence[tuple[int, dict[str, float], dict[str, float]]]) -> str:
    """The page."""
    lines = ["# Diagnosis: ours against the published procedure", "", f"`{command}`", "", machine() + ".", ""]
    lines += [
        f"{found['our-score'][0]['rows']:.0f} real Alpaca rows, {found['our-ratings'][0]['rows']:.0f} of them rated;",
        "the demo's 1.4M-parameter models in float32. The published procedure is rewritten",
        "in `reference_procedure.py`: embeddings one prompt at a time, two loss passes in batches of 8 in",
        "file order with all logits, six sampled judgements of up to 1,024 tokens per row, the whole N x N matrix of",
        "similarities. Ours are the stages themselves with their store writes; the score stage's time holds its own",
        "neighbours and clusters, which are also shown alone. Tokens are those that went through the model, padding",
        "included. Times are seconds of CPU time of one thread, which other work on the machine disturbs least.",
        "",
        *_comparison(found),
        "",
        "## Agreement",
        "",
        *_agreement(found),
    ]
    if grown:
        lines += ["", "## Growth", "", *_growth(grown)]
    return "\n".join(lines) + "\n"


def _sum(found: Results, names: Sequence[str], key: str) -> float:
    if key == "peak_mib":
        return max(found[n][0][key] for n in names)
    return sum(found[n][0][key] / found[n][0]["rows"] for n in names)


def _comparison(found: Results) -> list[str]:
    body = []
    for part in PUBLISHED:
        body.append(_line(part, found, PUBLISHED[part], OURS[part]))
    all_theirs = [n for names in PUBLISHED.values() for n in names]
    all_ours = [n for names in OURS.values() for n in names]
    body.append(_line("total", found, all_theirs, all_ours))
    head = [
        "part",
        "published ms/row",
        "ours ms/row",
        "times faster",
        "published tokens/row",
        "ours tokens/row",
        "published peak MiB",
        "ours peak MiB",
    ]
    waste = found["our-score"][0]
    drawn = found["published-ratings"][0]["drawn"]
    return [
        table(head, body),
        "",
        f"Padding in our two scoring passes: {1 - waste['own_tokens'] / waste['tokens']:.1%} of the tokens computed. "
        f"The published judge drew {drawn:,.0f} tokens.",
    ]


def _line(part: str, found: Results, theirs: Sequence[str], ours: Sequence[str]) -> list[str]:
    a, b = _sum(found, theirs, "cpu_s"), _sum(found, ours, "cpu_s")
    tokens = [f"{_sum(found, names, 'tokens'):,.0f}" for names in (theirs, ours)]
    peak = [f"{_sum(found, names, 'peak_mib'):,.0f}" for names in (theirs, ours)]
    return [part, f"{a * 1000:,.1f}", f"{b * 1000:,.1f}", f"{a / b:.1f}", *tokens, *peak]


def _agreement(found: Results) -> list[str]:
    ours, parity = found["our-score"][1], found["our-parity"][1]
    worst = max(
        float(np.nanmax(np.abs(ours[f"loss_{when}"] - found[f"published-loss-{when}"][1]["loss"])))
        for when in ("before", "after")
    )
    theirs = found["published-neighbours"][1]
    same = np.mean([set(a) == set(b) for a, b in zip(parity["index"], theirs["index"], strict=True)])
    apart = float(np.abs(parity["similarity"] - theirs["similarity"].mean(axis=1)).max())
    rank, n = found["agreement"][0]["spearman"], len(found["agreement"][1]["expected"])
    return [
        f"- Losses: at most {worst:.1e} apart.",
        f'- Neighbours (bare prompts, `select.parity = "reference"`): {same:.1%} of the rows have the same '
        f"{theirs['index'].shape[1]}; the mean similarity is at most {apart:.1e} apart (ours are stored in 16 bits).",
        f"- Ratings: on {n:.0f} rows of the demo, which its model can rate, expected and sampled mean ratings have a "
        f"rank correlation of {rank:.3f} (Spearman).",
    ]


def _growth(grown: Sequence[tuple[int, dict[str, float], dict[str, float]]]) -> list[str]:
    body = []
    for size, scored, judged in grown:
        seconds = scored["cpu_s"] + judged["cpu_s"]
        rates = [f"{seconds / size * 1000:.2f}", f"{scored['peak_mib']:,.0f}", f"{judged['peak_mib']:,.0f}"]
        body.append([f"{size:,}", f"{scored['cpu_s']:.1f}", f"{judged['cpu_s']:.1f}", *rates])
    head = ["rows", "score s", "judge s", "ms per row", "score peak MiB", "judge peak MiB"]
    about = (
        "Both stages under a random two-layer model of width 64; Alpaca rows cut to 60 + 60 characters; neighbours and "
        "clusters included."
    )
    return [about, "", table(head, body)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
