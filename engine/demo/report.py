"""Is a freshly built pair of models fit for the demo? Measures it and writes docs/benchmarks/demo-models.md.

The demo promises that the loop raises accuracy on a flawed dataset. So the base must learn much more from clean data
than from the flawed seed, its ratings must see flaws also after fine-tuning, and the teacher must answer and rewrite
reliably.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.demo import corpus, flaws, measure, seed, world
from engine.demo.flaws import FLAWS, SeedRow
from engine.demo.measure import Lab, RewriteQuality, Tuning
from engine.plurals import counted

SEED_ROWS = 700
HELDOUT_ROWS = 440
REWRITES = 100
TUNING = Tuning(epochs=3, lr=1e-3)
"""As in demo.toml."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One fine-tuning from the base: what it was trained on and what came out."""

    name: str
    rows: int
    accuracy: dict[str, float]
    judge: dict[str, float]
    loss: dict[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything measured on one pair of models."""

    arms: tuple[Arm, ...]
    teacher: dict[str, float]
    rewrites: dict[str, RewriteQuality]


def measured(base: Lab, teacher: Lab, seed_number: int, rows: int = SEED_ROWS, heldout: int = HELDOUT_ROWS) -> Report:
    """All measurements of one pair, on a dataset drawn with `seed_number`."""
    dataset = seed.seed_rows(rows, seed_number)
    unseen = seed.heldout_rows(heldout, seed_number)
    arms = [_arm("base, not fine-tuned", base, [], dataset, unseen)]
    for name, data in training_sets(teacher, dataset).items():
        arms.append(_arm(name, measure.fine_tuned(base, data, TUNING), data, dataset, unseen))
    return Report(tuple(arms), measure.accuracy(teacher, unseen), dict(_rewrites(teacher, seed_number)))


def training_sets(teacher: Lab, dataset: Sequence[SeedRow]) -> dict[str, list[SeedRow]]:
    """What the base is fine-tuned on: the flawed seed, an oracle's repair of it, and the teacher's."""
    kinds = {"hard": "simplify"}
    repaired: list[SeedRow] = []
    for flaw in FLAWS:
        bad = [row for row in dataset if row.flaw == flaw]
        fixed = measure.repaired(teacher, bad, kinds.get(flaw, "improve"))
        repaired += [new or row for new, row in zip(fixed, bad, strict=True)]
    good = [row for row in dataset if not row.flaw]
    return {
        "flawed seed": list(dataset),
        "flawed rows repaired by an oracle": [flaws.clean(row.intended) for row in dataset],
        "flawed rows repaired by the teacher": good + repaired,
        "flawed rows left out": good,
    }


def _arm(name: str, lab: Lab, data: Sequence[SeedRow], dataset: Sequence[SeedRow], unseen: Sequence[SeedRow]) -> Arm:
    labels = [row.flaw for row in dataset]
    return Arm(
        name,
        len(data),
        measure.accuracy(lab, unseen),
        measure.separation(-lab.ratings(dataset).mean(axis=1), labels),
        measure.separation(lab.losses(dataset), labels),
    )


def _rewrites(teacher: Lab, seed_number: int) -> Iterable[tuple[str, RewriteQuality]]:
    rng = random.Random(f"rewrites {seed_number}")
    for kind, flaw in (
        ("improve", "wrong"), ("improve", "truncated"), ("improve", "vague"), ("improve", ""),
        ("simplify", "hard"), ("simplify", "wrong"), ("simplify", "vague"),
    ):  # fmt: skip
        rows = [_unseen_row(rng, flaw) for _ in range(REWRITES)]
        yield f"{kind}, {flaw or 'clean'}", measure.rewrite_quality(rows, measure.repaired(teacher, rows, kind))
    rows = [_unseen_row(rng, "") for _ in range(REWRITES)]
    for temperature in (0.0, 0.7, 1.0):
        new = diversified(teacher, rows, rng, temperature)
        yield f"diversify, temperature {temperature}", measure.rewrite_quality(rows, new)


def _unseen_row(rng: random.Random, flaw: str) -> SeedRow:
    task = seed.draw_task(rng, heldout=True)
    return flaws.spoil(rng, task, flaw) if flaw else flaws.clean(task)  # type: ignore[arg-type]


def diversified(teacher: Lab, rows: Sequence[SeedRow], rng: random.Random, temperature: float) -> list[SeedRow | None]:
    """A new sample beside each row, from two hints of the row's own family."""
    asked = [
        corpus.fill(
            "diversify",
            prompt=row.prompt,
            hints="\n".join(seed.draw_task(rng, row.family, heldout=True).prompt for _ in range(2)),
        )
        for row in rows
    ]
    prompts = [measure.rewritten_prompt(reply) for reply in teacher.generate(asked, temperature)]
    answers = teacher.generate([corpus.fill("answer", prompt=prompt or "") for prompt in prompts])
    return [
        SeedRow(prompt, "", answer, row.family, "", row.intended) if prompt else None
        for prompt, answer, row in zip(prompts, answers, rows, strict=True)
    ]


def write(path: Path, report: Report, models: Sequence[Path], origin: str) -> None:
    """Write the report as Markdown; `origin` says how the models were made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(_lines(report, models, origin)) + "\n", encoding="utf-8")


def _lines(report: Report, models: Sequence[Path], origin: str) -> Iterable[str]:
    yield "# The demo's models"
    yield ""
    yield origin
    yield ""
    yield "Held-out prompts were seen neither in pretraining nor in fine-tuning. Accuracy is exact match."
    yield ""
    for model in models:
        size = sum(file.stat().st_size for file in model.iterdir()) / 1e6
        yield f"- `engine/demo/{model.name}`: {size:.1f} MB on disk"
    yield ""
    yield "## The base, before and after fine-tuning"
    yield ""
    yield f"{SEED_ROWS} seed rows, {_described(TUNING)}."
    yield ""
    yield from _table(
        ("trained on", "rows", "accuracy", "rating AUC", *FLAWS, "loss AUC"),
        (
            (arm.name, str(arm.rows), _percent(arm.accuracy[""]), f"{arm.judge['']:.3f}",
             *(f"{arm.judge[flaw]:.3f}" for flaw in FLAWS), f"{arm.loss['']:.3f}")
            for arm in report.arms
        ),
    )  # fmt: skip
    yield ""
    yield "Rating AUC: how often a flawed seed row has a lower mean rating than a clean one; by flaw beside it."
    yield ""
    yield "## Accuracy by family"
    yield ""
    yield from _table(
        ("family", *(arm.name for arm in report.arms), "teacher"),
        (
            (
                family or "all",
                *(_percent(arm.accuracy[family]) for arm in report.arms),
                _percent(report.teacher[family]),
            )
            for family in ("", *world.FAMILIES)
            if family in report.teacher
        ),
    )
    yield ""
    yield "## The teacher's rewrites"
    yield ""
    yield from _table(
        ("rewrite", "well formed", "a task of the world", "same family", "answered right"),
        (
            (name, *map(_percent, (quality.well_formed, quality.parsable, quality.same_family, quality.right)))
            for name, quality in report.rewrites.items()
        ),
    )


def _described(tuning: Tuning) -> str:
    how = f"LoRA rank {tuning.rank}, alpha {2 * tuning.rank}" if tuning.rank else "all weights"
    return f"{how}, {counted(tuning.epochs, 'epoch')}, learning rate {tuning.lr:g}, batch {tuning.batch}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _percent(share: float) -> str:
    return f"{100 * float(np.round(share, 3)):.1f} %"
