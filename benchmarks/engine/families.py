"""Our numbers against plain transformers, family by family: losses, embeddings, ratings, replies and training.

    python -m benchmarks.engine.families

Tiny models with random weights of real architectures, each with its chat template (benchmarks/world/family_models.py).
Every family has a process of its own, and its figures are kept in --folder: a second call measures only what is
missing. Writes docs/benchmarks/families.md and prints the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.engine.families_page import page
from benchmarks.measured import module_of
from benchmarks.world.family_models import FAMILIES, make

DOCUMENT = ROOT / "docs" / "benchmarks" / "families.md"
TARGETS = "all-linear"
ROWS, STEPS, REPLY, RATE = 8, 4, 12, 5e-3
WORDS = [
    "sort",
    "the",
    "list",
    "of",
    "numbers",
    "red",
    "blue",
    "green",
    "small",
    "large",
    "apple",
    "pear",
    "bread",
    "name",
    "every",
    "word",
]
Figures = dict[str, Any]
SETTINGS = """
[model]
name = {model}
max_length = 256
device = "cpu"
threads = 1
[train]
method = "{method}"
packing = {packing}
epochs = {epochs}
batch_size = {rows}
gradient_accumulation = 1
gradient_checkpointing = false
scheduler = "constant"
warmup_ratio = 0.0
weight_decay = 0.0
learning_rate = {rate}
lora_r = 4
lora_alpha = 8
lora_dropout = 0.0
"""


def chats() -> list[Any]:
    """Prompts and answers of different lengths."""
    from engine.store.rows import Message

    out = []
    for i in range(ROWS):
        words = [WORDS[(i * 7 + j) % len(WORDS)] for j in range(2 + 5 * (i % 5))]
        out.append((Message("user", f"sort {i}: {' '.join(words)}"), Message("assistant", " ".join(sorted(words)))))
    return out


def rows_of(folder: Path) -> list[Any]:
    """The chats as tokens."""
    from engine.chat.render import load_tokenizer, render

    tokenizer = load_tokenizer(folder)
    found = [render(tokenizer, chat, 256) for chat in chats()]
    if bad := next((row.error for row in found if row.error), None):
        raise ValueError(bad)
    return found


def apart(ours: Sequence[float | None], plain: Sequence[float]) -> float:
    """The largest absolute difference.

    Raises:
        ValueError: one of ours is missing, or the lengths differ.
    """
    there = [value for value in ours if value is not None]
    return max(abs(a - b) for a, b in zip(there, plain, strict=True))


def losses(folder: Path, scratch: Path) -> Figures:
    """The scorer's losses and embeddings, rows of unlike lengths in one batch."""
    from benchmarks.engine import plain_transformers as plain
    from engine.backends import hf

    rows, model = rows_of(folder), plain.read(folder)
    scored = hf.load(folder, device="cpu").score(rows)
    if bad := next((one.error for one in scored if one.error), None):
        raise ValueError(bad)
    places = [[i for i, own in enumerate(row.own) if own] or list(range(row.prompt_end)) for row in rows]
    means = [state[at].mean(0) for state, at in zip(plain.states(model, rows), places, strict=True)]
    off = [
        float((torch_of(one.embedding) - mean).abs().max() / mean.norm())
        for one, mean in zip(scored, means, strict=True)
    ]
    return {"loss": apart([one.loss for one in scored], plain.losses(model, rows)), "embedding": max(off)}


def torch_of(array: Any) -> Any:
    """A numpy array as a tensor."""
    import torch

    return torch.from_numpy(array)


def ratings(folder: Path, scratch: Path) -> Figures:
    """The judge's ratings and how much of the probability lies on digits; requests share what they begin with."""
    from benchmarks.engine import plain_transformers as plain
    from engine.backends import hf
    from engine.chat import prompts
    from engine.signals import ratings

    judge = hf.load(folder, device="cpu")
    from engine.store.rows import SUBJECTS

    templates = {name: prompts.load(f"judge_{name}") for name in SUBJECTS}
    asked = [ids for chat in chats()[:3] for ids in ratings.judge_prompts(templates, judge, chat)]
    rated = judge.rate(asked)
    digits = judge.loaded.digits
    assert digits is not None
    whole = plain.next_token(plain.read(folder), asked)
    ten = [[float(row[ids].sum()) for ids in digits] for row in whole]
    values = [sum(d * p for d, p in enumerate(row)) / sum(row) for row in ten]
    if bad := next((one.error for one in rated if one.error), None):
        raise ValueError(bad)
    return {
        "rating": apart([one.value for one in rated], values),
        "mass": apart([one.digit_mass for one in rated], [sum(row) for row in ten]),
        "shared": judge.shares,
    }


def replies(folder: Path, scratch: Path) -> Figures:
    """Greedy replies: all prompts as one batch against one prompt at a time."""
    from benchmarks.engine import plain_transformers as plain
    from engine.backends import hf
    from engine.chat.render import render_prompt

    model = hf.load(folder, device="cpu")
    asked = [chat[:1] for chat in chats()]
    made = model.generate(asked, max_new_tokens=REPLY, temperature=0.0, top_p=1.0, seed=0)
    tokenizer, stops = model.tokenizer, model.loaded.stops
    alone = [render_prompt(tokenizer, chat, 512) for chat in asked]
    hf.release()
    found = plain.replies(plain.read(folder), alone, REPLY, stops, tokenizer.pad_token_id)
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in found]
    if bad := next((one.error for one in made if one.error), None):
        raise ValueError(bad)
    return {"replies": f"{sum(a.text == b for a, b in zip(made, texts, strict=True))} of {len(texts)}"}


def training(method: str) -> Callable[[Path, Path], Figures]:
    """Our train stage against a plain loop from the same adapter: the steps' losses, and those of what was saved."""

    def work(folder: Path, scratch: Path) -> Figures:
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

        from benchmarks.engine import plain_transformers as plain
        from engine.backends import hf

        rows = rows_of(folder)
        told, final, begun = trained(folder, scratch / method, method, packing=False, epochs=STEPS)
        model = plain.read(folder)
        text = model.config.get_text_config()
        aux = hasattr(text, "output_router_logits") and getattr(text, "router_aux_loss_coef", 0.0) != 0.0
        targets = 0
        if method == "lora":
            said = json.loads((final / "adapter_config.json").read_text(encoding="utf-8"))
            left = said["exclude_modules"]
            how = LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, exclude_modules=left, task_type="CAUSAL_LM")
            model = get_peft_model(model, how)
            set_peft_model_state_dict(model, begun)
            targets = len(begun) // 2
        expected = plain.steps(model, rows, STEPS, RATE, aux)
        saved = hf.load(folder, final, device="cpu") if method == "lora" else hf.load(final, device="cpu")
        again = [one.loss for one in saved.score(rows, embed=False)]
        hf.release()
        read = plain.read(folder, final) if method == "lora" else plain.read(final)
        return {
            method: apart(told, expected),
            f"{method} learned": told[0] - told[-1],
            f"{method} saved": apart(again, plain.losses(read, rows)),
            f"{method} end": apart(again, plain.losses(model, rows)),
            **({"targets": targets} if targets else {}),
        }

    return work


def packed(folder: Path, scratch: Path) -> Figures:
    """The first step's loss with the rows packed, against the same rows padded."""
    from benchmarks.engine import plain_transformers as plain

    told, *_ = trained(folder, scratch / "packed", "lora", packing=True, epochs=1)
    model = plain.read(folder)
    text = model.config.get_text_config()
    aux = hasattr(text, "output_router_logits") and getattr(text, "router_aux_loss_coef", 0.0) != 0.0
    return {"packed": apart(told, plain.steps(model, rows_of(folder), 1, RATE, aux))}


def trained(
    folder: Path, place: Path, method: str, packing: bool, epochs: int
) -> tuple[list[float], Path, dict[str, Any]]:
    """The steps' losses, the saved model, and the adapter it began with."""
    import tomllib

    import msgspec
    from peft import get_peft_model_state_dict

    from engine.config.schema import Config
    from engine.loop import NAMES
    from engine.runtime.context import StoreCtx
    from engine.signals.round_models import CHECKPOINT
    from engine.stages import train
    from engine.store import commands, connect, write
    from engine.store.rows import Metric, Sample, content_id
    from engine.store.schema import migrate
    from engine.training import trainer as trainers

    settings = SETTINGS.format(
        model=json.dumps(str(folder)), method=method, packing=str(packing).lower(), epochs=epochs, rows=ROWS, rate=RATE
    )
    config = msgspec.convert(tomllib.loads(settings), Config)
    place.mkdir(parents=True)
    migrate(place, create=True)
    db = connect.writer(place)
    with connect.transaction(db):
        write.add_samples(db, [Sample(content_id(c), tuple(c), i, source="rows") for i, c in enumerate(chats())])
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    commands.set_plan(place, 1)
    seen: dict[str, Any] = {}
    build = trainers.trainer

    def noted(task: trainers.TrainingTask) -> Any:
        made = build(task)
        if method != "full":
            seen["begun"] = {k: v.clone() for k, v in get_peft_model_state_dict(made.model).items()}
        return made

    trainers.trainer = noted
    try:
        ctx = StoreCtx(db, place, config, 0, "train")
        train.run(ctx)
    finally:
        trainers.trainer = build
    final = ctx.artifact(CHECKPOINT)
    assert final is not None
    return [row.loss for row in ctx.rows(Metric) if row.loss is not None], final, seen.get("begun", {})


PARTS: Mapping[str, Callable[[Path, Path], Figures]] = {
    "loss": losses,
    "rating": ratings,
    "replies": replies,
    "lora": training("lora"),
    "full": training("full"),
    "packed": packed,
}


def measure(name: str, out: Path) -> None:
    """All figures of one family into ``out``; what fails is a figure too: its reason."""
    from transformers.utils import logging

    from engine.errors import MiddoError

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="middo-family-") as scratch:
        folder = make(FAMILIES[name], Path(scratch) / "model")
        for part, work in PARTS.items():
            try:
                figures |= work(folder, Path(scratch))
            except MiddoError as error:
                figures[f"{part} refused"] = str(error).replace(f"{folder}: ", "")
            except Exception as error:  # noqa: BLE001 - the table says it
                traceback.print_exc()
                figures[f"{part} failed"] = f"{type(error).__name__}: {error}"
    out.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.families", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "middo-families")
    parser.add_argument("--only", nargs="*", default=list(FAMILIES), help="families to measure anew")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.piece:
        measure(options.piece, options.out)
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Figures] = {}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    for name in FAMILIES:
        target = options.folder / f"{name.replace(' ', '-').replace(',', '')}.json"
        if options.only != list(FAMILIES) and name in options.only:
            target.unlink(missing_ok=True)
        if not target.exists():
            sys.stderr.write(f"{name}\n")
            subprocess.run(
                [sys.executable, "-m", module_of(__file__), "--piece", name, "--out", str(target)],
                check=True,
                env=environment,
            )
        found[name] = json.loads(target.read_text(encoding="utf-8"))
    options.document.write_text(page(found, {name: family.kind for name, family in FAMILIES.items()}), encoding="utf-8")
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
