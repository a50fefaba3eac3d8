"""The pieces that `diagnose.py` measures: each a function of (scratch folder, data file, rows).

A piece returns arrays to compare and further figures. What is not the work itself (making the project, rendering for
the published passes) is done before the clock starts, by the pieces ``project`` and ``growth-project``, or is part of
both sides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from benchmarks import ROOT
from engine.chat.render import load_tokenizer, render
from engine.config import schema as configs
from engine.demo.project import create_demo
from engine.loop import NAMES
from engine.project import folder as project
from engine.runtime.context import StoreCtx
from engine.selection import thresholds
from engine.signals import last_exchange, round_models
from engine.stages import judge, score
from engine.store import commands, write
from engine.store.connect import transaction, writer
from engine.store.rows import RATING_COLUMNS, Artifact, Losses, Neighbourhood, Ratings

DEMO = ROOT / "engine" / "demo"
BASE, TUNED = DEMO / "base", DEMO / "teacher"
MAX_LENGTH, GROWTH_LENGTH = 2048, 64
NEIGHBOURS = 2
SEED = 0
AGREEMENT_ROWS = 240

Found = tuple[Mapping[str, Any], Mapping[str, float]]
Settings = dict[str, dict[str, object]]


def _begin(folder: Path, tuned: Path) -> None:
    """A first round whose training is done; its checkpoint is ``tuned``."""
    db = writer(folder)
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    commands.set_plan(folder, 1)
    place = _context(folder, "train").workdir(round_models.CHECKPOINT) / "final"
    place.symlink_to(tuned.resolve())
    with transaction(db):
        write.upsert(db, [Artifact(0, round_models.CHECKPOINT, str(place.relative_to(folder)))])
    db.close()


def _context(folder: Path, stage: str) -> StoreCtx:
    return StoreCtx(writer(folder), folder, configs.load(folder), 0, stage)


def _create(folder: Path, rows: list[dict[str, str]], settings: Settings) -> None:
    data = folder.parent / f"{folder.name}.json"
    data.write_text(json.dumps(rows), encoding="utf-8")
    project.create(folder, [data], {"data": {"heldout_share": 0.0}, **settings})


def _model(path: Path, length: int = MAX_LENGTH) -> dict[str, object]:
    return {"name": str(path), "max_length": length, "device": "cpu", "threads": 1}


def make_projects(scratch: Path, data: Path, rows: int) -> Found:
    """The projects of the comparison: one to measure, one in parity mode, the demo for ratings that mean something."""
    alpaca = json.loads(data.read_text(encoding="utf-8"))[:rows]
    _create(scratch / "alpaca", alpaca, {"model": _model(BASE)})
    parity: Settings = {
        "model": _model(BASE), "score": {"embed": "bare_prompt"}, "select": {"parity": "reference"}
    }  # fmt: skip
    _create(scratch / "parity", alpaca, parity)
    for _ in create_demo(scratch / "demo", rows=AGREEMENT_ROWS, heldout=8, seed=SEED):
        pass
    for name in ("alpaca", "parity", "demo"):
        _begin(scratch / name, BASE if name == "demo" else TUNED)
    return {}, {}


# ------------------------------------------------------------------------------------------------ as published


def published_embeddings(scratch: Path, data: Path, rows: int) -> Found:
    """One prompt at a time."""
    from benchmarks.engine import reference_procedure as published

    prompts = [last_exchange.last_prompt(s.messages) for s in _context(scratch / "alpaca", "score").dataset()]
    return {"embeddings": published.embeddings(TUNED, prompts, MAX_LENGTH)}, {}


def published_loss(path: Path) -> Callable[[Path, Path, int], Found]:
    """One loss pass under the model in ``path``."""

    def work(scratch: Path, data: Path, rows: int) -> Found:
        from benchmarks.engine import reference_procedure as published

        tokenizer = load_tokenizer(path)
        samples = _context(scratch / "alpaca", "score").dataset()
        rendered = [render(tokenizer, s.messages, MAX_LENGTH) for s in samples]
        return {"loss": published.losses(path, rendered)}, {}

    return work


def published_ratings(scratch: Path, data: Path, rows: int) -> Found:
    """Six drawn replies per row."""
    from benchmarks.engine import reference_procedure as published

    samples = _context(scratch / "alpaca", "judge").dataset()[:rows]
    asked = [request for s in samples for request in published.requests(*published.chat_of(s.messages))]
    found, drawn = published.ratings(TUNED, asked, SEED)
    return {"ratings": found.reshape(-1, 6)}, {"drawn": drawn}


def published_neighbours(scratch: Path, data: Path, rows: int) -> Found:
    """The whole matrix."""
    from benchmarks.engine import reference_procedure as published

    embedded = np.load(scratch / "published-embeddings.npz")["embeddings"]
    similarity, index = published.nearest(embedded, NEIGHBOURS)
    return {"similarity": similarity, "index": index}, {}


# -------------------------------------------------------------------------------------------------------- ours


def our_score(scratch: Path, data: Path, rows: int) -> Found:
    """The score stage: both losses, embeddings, neighbours and clusters."""
    ctx = _context(scratch / "alpaca", "score")
    score.run(ctx)
    samples = ctx.dataset()
    losses = {row.sample_id: row for row in ctx.rows(Losses)}
    own = 2 * sum(row.prompt_tokens + row.response_tokens for row in losses.values())  # one turn each
    arrays = {
        f"loss_{when}": np.array([getattr(losses[s.id], f"loss_{when}") for s in samples], dtype=np.float64)
        for when in ("before", "after")
    }
    return arrays, {"own_tokens": own}


def our_ratings(scratch: Path, data: Path, rows: int) -> Found:
    """The judge stage, expected ratings, on a project of its own."""
    alpaca = json.loads(data.read_text(encoding="utf-8"))[:rows]
    _create(scratch / "rated", alpaca, {"model": _model(BASE)})
    _begin(scratch / "rated", TUNED)
    ctx = _context(scratch / "rated", "judge")
    judge.run(ctx)
    return {}, {"rated": sum(row.quality is not None for row in ctx.rows(Ratings))}


def our_neighbours(scratch: Path, data: Path, rows: int) -> Found:
    """The neighbours alone, which the score stage has done too."""
    embedded = np.load(scratch / "published-embeddings.npz")["embeddings"]
    similarity, index = thresholds.neighbours(embedded, NEIGHBOURS)
    return {"similarity": similarity, "index": index}, {}


def our_parity(scratch: Path, data: Path, rows: int) -> Found:
    """The score stage as the reference embeds and counts neighbours."""
    ctx = _context(scratch / "parity", "score")
    score.run(ctx)
    samples = ctx.dataset()
    place = {s.id: i for i, s in enumerate(samples)}
    near = {row.sample_id: row for row in ctx.rows(Neighbourhood)}
    index = [[place[i] for i in json.loads(near[s.id].neighbours)[:NEIGHBOURS]] for s in samples]
    return {"index": np.array(index), "similarity": np.array([near[s.id].similarity for s in samples])}, {}


def agreement(scratch: Path, data: Path, rows: int) -> Found:
    """Expected against sampled ratings on the demo's rows: Spearman's rank correlation of the means."""
    from scipy.stats import spearmanr

    means = []
    for mode in ("expected", "sampled"):
        folder = scratch / "demo"
        ctx = _context(folder, "judge")
        db = writer(folder)
        write.reset(db, 0, ["judge"])
        db.close()
        ctx.config = replace(ctx.config, judge=replace(ctx.config.judge, mode=mode))
        judge.run(ctx)
        rated = {row.sample_id: row for row in ctx.rows(Ratings)}
        means.append([np.mean([getattr(rated[s.id], c) for c in RATING_COLUMNS], dtype=float) for s in ctx.dataset()])
    found = spearmanr(*means)
    return {"expected": np.array(means[0]), "sampled": np.array(means[1])}, {
        "spearman": float(found.statistic)
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------ growth


def growth_project(scratch: Path, data: Path, rows: int) -> Found:
    """A project of ``rows`` distinct rows and a tiny random model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_tokenizer(BASE)
    torch.manual_seed(SEED)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048, **shape))
    model.save_pretrained(scratch / "model")
    tokenizer.save_pretrained(scratch / "model")
    known = json.loads(data.read_text(encoding="utf-8"))
    many = [_short(known[i % len(known)], i) for i in range(rows)]
    settings: Settings = {"model": _model(scratch / "model", GROWTH_LENGTH), "judge": {"min_digit_mass": 0.0}}
    _create(scratch / "grown", many, settings)
    _begin(scratch / "grown", scratch / "model")
    return {}, {}


def _short(row: dict[str, str], number: int) -> dict[str, str]:
    """A row of its own, cut so that 100,000 of them fit into a benchmark."""
    return {"instruction": f"{number}. {row['instruction'][:60]}", "input": "", "output": row["output"][:60] or "none"}


def growth_score(scratch: Path, data: Path, rows: int) -> Found:
    """The score stage."""
    score.run(_context(scratch / "grown", "score"))
    return {}, {}


def growth_judge(scratch: Path, data: Path, rows: int) -> Found:
    """The judge stage."""
    judge.run(_context(scratch / "grown", "judge"))
    return {}, {}


PIECES: dict[str, Callable[[Path, Path, int], Found]] = {
    "project": make_projects,
    "published-embeddings": published_embeddings,
    "published-loss-before": published_loss(BASE),
    "published-loss-after": published_loss(TUNED),
    "published-ratings": published_ratings,
    "published-neighbours": published_neighbours,
    "our-score": our_score,
    "our-ratings": our_ratings,
    "our-neighbours": our_neighbours,
    "our-parity": our_parity,
    "agreement": agreement,
    "growth-project": growth_project,
    "growth-score": growth_score,
    "growth-judge": growth_judge,
}
