"""Scoring answers under a model: ours beside lm-eval's loglikelihood requests and beside plain padded batches.

    python -m benchmarks.engine.scoring_peers --data alpaca_1k.json --rows 120 --times 3

Every side gets the same tokens of the same rows and the same model, in one process and in turn; each gives the sum of
every answer's log-probabilities, and the sums are compared. Writes docs/benchmarks/scoring-peers.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import ROOT
from benchmarks.engine.plain_transformers import IGNORED
from benchmarks.engine.training_peers import DEMO, rendered, said
from benchmarks.measured import count_tokens, machine, table
from engine.backends import hf
from engine.chat import batches
from engine.chat.render import Rendered

PAGE = ROOT / "docs" / "benchmarks" / "scoring-peers.md"
BUDGET = 16384
"""[score] token_budget as it comes."""
BATCH = 8
CLOSE = 1e-6
"""Share by which sums of log-probabilities may differ between sides: a few roundings of a float32."""
Sums = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model as ours holds it, as plain transformers and as lm-eval wraps it, and what it scores."""

    ours: hf.HF
    plain: Any
    wrapped: Any
    rows: Sequence[Rendered]


def load(folder: Path, rows: Sequence[Rendered]) -> Loaded:
    """The model in ``folder`` in float32, with one thread."""
    from lm_eval.models.huggingface import HFLM

    ours = hf.load(folder, dtype="float32", device="cpu", threads=1)
    plain = ours.loaded.model
    wrapped = HFLM(pretrained=plain, tokenizer=ours.tokenizer, batch_size=BATCH, device="cpu")
    return Loaded(ours, plain, wrapped, rows)


def ours(of: Loaded) -> Sums:
    """As the score stage does: batches by length, logits where an answer's tokens are predicted."""
    sums = np.empty(len(of.rows))
    for batch in batches.plan([len(row.ids) for row in of.rows], BUDGET):
        scored = of.ours.score([of.rows[i] for i in batch], embed=False)
        for i, one in zip(batch, scored, strict=True):
            assert one.loss is not None
            sums[i] = -one.loss * sum(of.rows[i].mask)
    return sums


def lm_eval(of: Loaded) -> Sums:
    """lm-eval's requests of tokens, which it sorts by length itself."""
    asked = []
    for row in of.rows:
        begin = row.mask.index(True)
        asked.append((("", ""), list(row.ids[:begin]), list(row.ids[begin:])))
    return np.array([total for total, _ in of.wrapped._loglikelihood_tokens(asked, disable_tqdm=True)])


def plain(by_length: bool) -> Callable[[Loaded], Sums]:
    """Batches padded to their longest row, with the logits of every position."""

    @torch.inference_mode()
    def work(of: Loaded) -> Sums:
        order = list(range(len(of.rows)))
        if by_length:
            order.sort(key=lambda i: -len(of.rows[i].ids))
        sums = np.empty(len(order))
        for at in range(0, len(order), BATCH):
            batch = order[at : at + BATCH]
            width = max(len(of.rows[i].ids) for i in batch)
            ids = torch.tensor([_filled(of.rows[i].ids, 0, width) for i in batch])
            seen = torch.tensor([_filled([1] * len(of.rows[i].ids), 0, width) for i in batch])
            wanted = torch.tensor([_filled(_labels(of.rows[i]), IGNORED, width) for i in batch])
            logits = of.plain(input_ids=ids, attention_mask=seen, use_cache=False).logits
            losses = torch.nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1).float(), wanted[:, 1:].flatten(), ignore_index=IGNORED, reduction="none"
            )
            sums[batch] = -losses.view(len(batch), -1).sum(1).numpy()
        return sums

    return work


def _labels(row: Rendered) -> list[int]:
    return [i if on else IGNORED for i, on in zip(row.ids, row.mask, strict=True)]


def _filled(numbers: Sequence[int], by: int, width: int) -> list[int]:
    return [*numbers, *[by] * (width - len(numbers))]


SIDES: dict[str, tuple[str, Callable[[Loaded], Sums]]] = {
    "ours": ("the score stage's losses, batches by length", ours),
    "lm-eval": (f"lm-eval {metadata.version('lm_eval')}, sorted by itself, batches of {BATCH}", lm_eval),
    "sorted": (f"plain transformers, sorted by length, batches of {BATCH}", plain(by_length=True)),
    "plain": (f"plain transformers, file order, batches of {BATCH}", plain(by_length=False)),
}


def compare(of: Loaded, times: int) -> tuple[dict[str, list[float]], dict[str, int], float]:
    """CPU seconds of each side in turn, the tokens each computed, and the share by which their sums differ at most."""
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    computed, sums, counted = {}, {}, count_tokens()
    with torch.inference_mode():
        of.plain(torch.tensor([[1, 2]]))  # the first forward makes what the later ones reuse
    for _ in range(times):
        for name, (_, work) in SIDES.items():
            counted[0], start = 0, time.process_time()
            sums[name] = work(of)
            seconds[name].append(time.process_time() - start)
            computed[name] = counted[0]
    apart = max(float(np.abs(one / sums["ours"] - 1).max()) for one in sums.values())
    if apart > CLOSE:
        raise SystemExit(f"the sides score differently, by a share of {apart:.0e}: nothing to compare")
    return seconds, computed, apart


def section(title: str, of: Loaded, times: int) -> list[str]:
    """A table of one model."""
    seconds, computed, apart = compare(of, times)
    own = sum(len(row.ids) for row in of.rows)
    learned = sum(sum(row.mask) for row in of.rows)
    body = []
    for name, (what, _) in SIDES.items():
        ratios = [other / mine for other, mine in zip(seconds[name], seconds["ours"], strict=True)]
        took = f"{own / median(seconds[name]):,.0f}"
        ratio = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        body.append([what, took, ratio, f"{max(1 - own / computed[name], 0):.0%}"])
    return [
        f"## {title}",
        "",
        f"{len(of.rows)} rows, {own:,} tokens, {learned:,} of them in answers. The sums of an answer's"
        f" log-probabilities differ between the sides by a share of {apart:.0e} at most.",
        "",
        table(["scoring", "tokens per CPU second", "CPU seconds, ours = 1", "padding"], body),
        "",
    ]


def main(asked: argparse.Namespace) -> None:
    """Measure and write the page."""
    lines = [
        "# Scoring beside lm-eval and plain batches",
        "",
        f"`{shlex.join(['python', '-m', 'benchmarks.engine.scoring_peers', *asked.said])}`",
        "",
        f"{machine()}, transformers {metadata.version('transformers')}. {asked.note}".rstrip(),
        "",
        f"Real Alpaca rows, cut at {asked.longest:,} tokens, in float32. One process, one copy of the model, one"
        f" thread; the sides take turns, {asked.times} times each: the median, and the least and the most of the ratios"
        " of neighbouring turns. lm-eval's own default is batches of 1, which this does not hold against it. All sides"
        " score alike; what ours computes besides (embeddings, lenses) is left out.",
        "",
    ]
    for title, folder, count in [("The demo's base, 1.4M parameters", DEMO, asked.rows)] + (
        [(asked.model.name, asked.model, asked.model_rows)] if asked.model else []
    ):
        rows = rendered(asked.data, folder, count, asked.longest)
        lines += section(title, load(folder, rows), asked.times)
        PAGE.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Alpaca rows as JSON")
    parser.add_argument("--rows", type=int, default=120, help="rows for the demo's base")
    parser.add_argument("--model", type=Path, help="a second model's folder, e.g. SmolLM2's (`make real-model`)")
    parser.add_argument("--model-rows", type=int, default=32, help="rows for that model")
    parser.add_argument("--longest", type=int, default=1000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--note", default="", help="a sentence for the page, e.g. what else the machine was doing")
    found = parser.parse_args()
    found.said = said(sys.argv[1:])
    main(found)
