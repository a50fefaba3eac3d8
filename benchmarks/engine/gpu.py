"""Scoring and LoRA fine-tuning at the shape of Llama-3.1-8B with random weights, against padded batches in file order.

    python -m benchmarks.engine.gpu --scratch /dev/shm              # one GPU, about 35 GB in the scratch folder's place
    python -m benchmarks.engine.gpu --shape tiny --document x.md    # anywhere, to see that it runs

Writes docs/benchmarks/gpu.md. Ours are the scorer and the trainer themselves; each measurement has a process of its own
and a warm-up before the clock. Tokens a second count the rows' own tokens, never padding. The share of the card's peak
counts the arithmetic that these tokens need (two operations a weight forwards; two more backwards, because frozen
weights get no gradient; causal attention; the head), not what is computed again for checkpointing.
"""

from __future__ import annotations

import argparse
import random
import resource
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks import ROOT
from benchmarks.measured import machine, piece, run_piece, table
from benchmarks.world import random_llama

if TYPE_CHECKING:
    from engine.chat.render import Rendered
    from engine.config.schema import Config

DOCUMENT = ROOT / "docs" / "benchmarks" / "gpu.md"
PADDED_BATCH = 8
MAX_LENGTH = 2048
GIB = 2**30
Found = tuple[Mapping[str, Any], Mapping[str, float]]

PEAKS = {
    "H200": 989.0, "H100 PCIe": 756.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L40": 181.0, "L4": 121.0,
    "A10": 125.0, "RTX 4090": 165.0, "RTX 3090": 71.0,
}  # fmt: skip
"""Dense bfloat16 peak in TFLOPS by a part of the card's name, from the makers' data sheets; the first match counts."""


@dataclass(frozen=True)
class Shape(random_llama.Llama):
    """A Llama's shape; ``scored``, ``trained``: rows of a measurement."""

    scored: int
    trained: int


SHAPES = {
    "llama-3.1-8b": Shape(4096, 14336, 32, 32, 8, 128_256, 1_500, 192),
    "tiny": Shape(64, 128, 2, 4, 2, 1_024, 24, 16),
}


def rows(shape: Shape, count: int) -> list[Rendered]:
    """Rows of random words whose lengths are spread as instruction data's are: 20 to 2,048 tokens, half under 250."""
    from engine.chat.render import Rendered

    draw = random.Random(0)
    out = []
    for _ in range(count):
        prompt = min(MAX_LENGTH // 2, 10 + int(draw.lognormvariate(4.3, 0.8)))
        response = min(MAX_LENGTH // 2, 10 + int(draw.lognormvariate(5.0, 0.8)))
        ids = [draw.randrange(10, min(shape.words, 1_000)) for _ in range(prompt + response)]
        out.append(Rendered(ids, [False] * prompt + [True] * response, prompt, False))
    return out


def flops(shape: Shape, some: Sequence[Rendered], training: bool) -> float:
    """Operations that ``some`` rows need forwards, or forwards and backwards through frozen weights."""
    width = shape.hidden // shape.heads * shape.key_heads
    layer = shape.hidden * (2 * shape.hidden + 2 * width) + 3 * shape.hidden * shape.inner
    total = 0.0
    for row in some:
        length = len(row.ids)
        attention = 2 * shape.layers * shape.hidden * length * length  # half of the square, two products
        heads = 2 * shape.hidden * shape.words * (length if training else row.response_tokens)
        linear = 2 * shape.layers * layer * length
        total += 2 * (linear + heads) + 3 * attention if training else linear + heads + attention
    return total


def make_model(scratch: Path, name: str) -> Path:
    """The model in ``scratch``."""
    import torch

    dtype = "bfloat16" if torch.cuda.is_available() else "float32"
    return random_llama.write(scratch / "model", SHAPES[name], dtype)


def settings(folder: Path) -> Config:
    """Our defaults, for the model in ``folder``."""
    from engine.config.schema import Config

    model = {"name": str(folder), "max_length": MAX_LENGTH}
    return msgspec.convert({"model": model}, Config)


@contextmanager
def watched(some: Sequence[Rendered], shape: Shape, training: bool) -> Iterator[dict[str, float]]:
    """Seconds, peak memory, tokens and operations of the block, with the card's work finished."""
    import torch

    card = torch.cuda.is_available()
    if card:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    out: dict[str, float] = {}
    start = time.perf_counter()
    yield out
    if card:
        torch.cuda.synchronize()
    out["seconds"] = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() if card else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    out |= {"peak": float(peak), "own": float(sum(len(r.ids) for r in some)), "flops": flops(shape, some, training)}


def our_scoring(folder: Path, name: str) -> Found:
    """The scorer: losses and embeddings of one pass, planned as the score stage plans."""
    from engine.backends import hf
    from engine.chat import batches

    shape, config = SHAPES[name], settings(folder)
    some = rows(shape, shape.scored)
    model = hf.load(folder)
    model.score(some[:4])
    plan = batches.plan([len(row.ids) for row in some], config.score.token_budget)
    with watched(some, shape, training=False) as out:
        found = [one for batch in plan for one in model.score([some[i] for i in batch])]
    return {}, out | {"failed": float(sum(one.error is not None for one in found))}


def padded_scoring(folder: Path, name: str) -> Found:
    """Batches of 8 in file order, padded, with all logits: losses alone, no embeddings."""
    import torch

    from engine.backends.model_loading import read_model, torch_device, torch_dtype

    shape = SHAPES[name]
    some = rows(shape, shape.scored)
    device = torch_device("auto")
    model = read_model(folder, torch_dtype("auto", device), device, "auto").eval()

    def score(batch: Sequence[Rendered]) -> None:
        width = max(len(row.ids) for row in batch)
        ids = torch.tensor([row.ids + [0] * (width - len(row.ids)) for row in batch], device=device)
        seen = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in batch], device=device)
        marked = [[i if on else -100 for i, on in zip(row.ids, row.mask, strict=True)] for row in batch]
        labels = torch.tensor([row + [-100] * (width - len(row)) for row in marked], device=device)
        logits = model(input_ids=ids, attention_mask=seen, use_cache=False).logits[:, :-1].float()
        torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="none"
        ).cpu()

    with torch.inference_mode():
        score(some[:2])
        with watched(some, shape, training=False) as out:
            for at in range(0, len(some), PADDED_BATCH):
                score(some[at : at + PADDED_BATCH])
    return {}, out


def _arrow(folder: Path, some: Sequence[Rendered], name: str) -> Path:
    from datasets.arrow_writer import ArrowWriter

    from engine.stages.train import COLUMNS

    path = folder.parent / f"{name}.arrow"
    with ArrowWriter(path=str(path), features=COLUMNS) as writer:
        for row in some:
            labels = [i if on else -100 for i, on in zip(row.ids, row.mask, strict=True)]
            writer.write({"input_ids": row.ids, "labels": labels})
        writer.finalize()
    return path


def our_training(packing: bool) -> Callable[[Path, str], Found]:
    """The train stage's trainer at its defaults: LoRA, batches of 4 x 8, checkpointed gradients."""

    def work(folder: Path, name: str) -> Found:
        from engine.models.locate import ModelRef
        from engine.training.trainer import TrainingTask, trainer

        shape, config = SHAPES[name], settings(folder)
        config = msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, packing=packing))
        some = rows(shape, shape.trained)
        out = folder.parent / f"trained-{packing}"
        task = TrainingTask(
            config, 0, ModelRef(folder), _arrow(folder, some, f"rows-{packing}"), out, None, recompute=True
        )
        made = trainer(task)
        with watched(some, shape, training=True) as figures:
            made.train()
        return {}, figures

    return work


def padded_training(folder: Path, name: str) -> Found:
    """transformers' Trainer with the same adapter and batch, rows padded in the order they are drawn."""
    from datasets import Dataset
    from peft import get_peft_model
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    from engine.backends.model_loading import torch_device
    from engine.chat.render import load_tokenizer
    from engine.models.locate import ModelRef
    from engine.training import trainer as training

    shape, config = SHAPES[name], settings(folder)
    some = rows(shape, shape.trained)
    how, device = config.train, torch_device("auto")
    model, adapter = training._model(config, ModelRef(folder), device, device)
    model = get_peft_model(model, adapter)
    model.enable_input_require_grads()
    labels = [[i if on else -100 for i, on in zip(row.ids, row.mask, strict=True)] for row in some]
    made = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder.parent / "padded"), num_train_epochs=1, report_to="none", save_strategy="no",
            per_device_train_batch_size=how.batch_size, gradient_accumulation_steps=how.gradient_accumulation,
            gradient_checkpointing=bool(how.gradient_checkpointing), bf16=device.type == "cuda",
            use_cpu=device.type == "cpu", disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict({"input_ids": [row.ids for row in some], "labels": labels}),
        data_collator=DataCollatorForSeq2Seq(load_tokenizer(folder)),
    )  # fmt: skip
    with watched(some, shape, training=True) as out:
        made.train()
    return {}, out


PIECES: dict[str, Callable[[Path, str], Found]] = {
    "our-scoring": our_scoring,
    "padded-scoring": padded_scoring,
    "our-training": our_training(packing=False),
    "our-packed-training": our_training(packing=True),
    "padded-training": padded_training,
}
NAMES = {
    "our-scoring": "scoring, ours: losses and embeddings",
    "padded-scoring": "scoring, padded batches of 8, all logits: losses",
    "our-training": "LoRA SFT, our train stage",
    "our-packed-training": "LoRA SFT, our train stage, packing = true",
    "padded-training": "LoRA SFT, transformers' Trainer, padded",
}


def card(flag: float | None) -> tuple[str, float | None]:
    """The card's name and its peak in FLOPS; None where it is not known."""
    import torch

    if not torch.cuda.is_available():
        return "no GPU", None if flag is None else flag * 1e12
    name = torch.cuda.get_device_name()
    found = flag or next((peak for part, peak in PEAKS.items() if _named(part, name)), None)
    return name, None if found is None else found * 1e12


def _named(part: str, name: str) -> bool:
    """Whether all words of ``part`` stand in a card's name."""
    return set(part.lower().split()) <= set(name.lower().replace("-", " ").split())


def estimates(folder: Path, name: str) -> dict[str, int]:
    """What the doctor says a stage needs, in bytes."""
    from engine.doctor import memory

    shape, config, has_card = SHAPES[name], settings(folder), card(None)[0] != "no GPU"
    held = memory.read_shape(folder)
    longest = {n: max(len(row.ids) for row in rows(shape, n)) for n in (shape.scored, shape.trained)}
    train = memory.train(held, config, has_card, longest[shape.trained]).total
    packed = msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, packing=True))
    return {
        "our-scoring": memory.score(held, config, has_card, longest[shape.scored]).total,
        "our-training": train,
        "our-packed-training": memory.train(held, packed, has_card, longest[shape.trained]).total,
    }


def report(
    command: str, name: str, found: Mapping[str, Mapping[str, float]], said: Mapping[str, int], peak: float | None
) -> str:
    """The page."""
    body = []
    for part, figures in found.items():
        other = found["padded-scoring" if "scoring" in part else "padded-training"]
        speed, theirs = (one["own"] / one["seconds"] for one in (figures, other))
        share = "—" if peak is None else f"{figures['flops'] / figures['seconds'] / peak:.0%}"
        estimate = f"{said[part] / GIB:.2f}" if part in said else "—"
        body.append(
            [
                NAMES[part], f"{speed:,.0f}", f"{speed / theirs:.2f}", share, f"{figures['peak'] / GIB:.2f}", estimate,
                f"{figures['seconds']:.1f}",
            ]
        )  # fmt: skip
    head = ["work", "tokens/s", "ratio", "share of bf16 peak", "peak GiB", "estimated GiB", "seconds"]
    known = "peak unknown" if peak is None else f"bf16 peak {peak / 1e12:,.1f} TFLOPS"
    where = f"{card(None)[0]}, {known}; {machine()}"
    shape = SHAPES[name]
    about = (
        f"{name}: {shape.layers} layers of width {shape.hidden:,}, {shape.words:,} words, random weights; "
        f"{shape.scored:,} rows scored, {shape.trained:,} trained on. Training includes everything in `train()`."
    )
    return "\n".join(["# On a GPU", "", f"`{command}`", "", f"{where}.", "", about, "", table(head, body), ""])


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.gpu", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="llama-3.1-8b")
    parser.add_argument("--peak-tflops", type=float, help="the card's dense bf16 peak, where its name is not known")
    parser.add_argument("--scratch", type=Path, help="where the model is written; /dev/shm is fastest")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.piece:
        folder = options.out.parent / "model"
        run_piece(lambda: PIECES[options.piece](folder, options.shape), options.out)
        return 0
    scratch = Path(tempfile.mkdtemp(prefix="middo-gpu-", dir=options.scratch))
    command = shlex.join(["python", "-m", "benchmarks.engine.gpu", *arguments])
    _, peak = card(options.peak_tflops)
    try:
        folder = make_model(scratch, options.shape)
        said = estimates(folder, options.shape)
        found: dict[str, Mapping[str, float]] = {}
        for name in sorted(PIECES, key=lambda part: not part.startswith("padded")):  # what all others are held against
            found[name] = piece(__file__, name, scratch, ["--shape", options.shape])[0]
            if "padded-training" in found and "padded-scoring" in found:
                text = report(command, options.shape, found, said, peak)
                options.document.parent.mkdir(parents=True, exist_ok=True)
                options.document.write_text(text, encoding="utf-8")  # after each, so that a limit loses little
    finally:
        shutil.rmtree(scratch)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
