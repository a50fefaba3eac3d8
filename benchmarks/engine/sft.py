"""Training speed: our train stage against TRL as it comes and transformers' Trainer with padding.

    python -m benchmarks.engine.sft --data alpaca_1k.json --rows 320

One epoch over the same rows of the same model, one process each; writes docs/benchmarks/sft.md. Tokens per second count
the rows' own tokens, not padding, over the CPU time of training itself, which other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.measured import machine, piece, run_piece, table

DOCUMENT = ROOT / "docs" / "benchmarks" / "sft.md"
BASE = ROOT / "engine" / "demo" / "base"
MAX_LENGTH = 1024
Found = tuple[Mapping[str, Any], Mapping[str, float]]


def _rows(data: Path, count: int) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(data.read_text(encoding="utf-8"))[:count]
    return found


def _chats(data: Path, count: int) -> list[list[dict[str, str]]]:
    return [
        [
            {"role": "user", "content": "\n\n".join(filter(None, (row["instruction"], row["input"])))},
            {"role": "assistant", "content": row["output"] or "none"},
        ]
        for row in _rows(data, count)
    ]


def _own_tokens(data: Path, count: int) -> int:
    """Tokens of the rows as every side trains on them, cut at MAX_LENGTH."""
    from engine.chat.render import load_tokenizer, render
    from engine.store.rows import Message

    tokenizer = load_tokenizer(BASE)
    chats = ([Message(m["role"], m["content"]) for m in chat] for chat in _chats(data, count))
    return sum(len(render(tokenizer, chat, MAX_LENGTH).ids) for chat in chats)


def ours(**changed: object) -> Callable[[Path, Path, int], Found]:
    """Our stage, the default batch of 4 x 8; full fine-tuning with activations kept, but for what is ``changed``."""

    def work(scratch: Path, data: Path, rows: int) -> Found:
        from engine.config import schema as configs
        from engine.loop import NAMES
        from engine.project import folder as project
        from engine.runtime.context import StoreCtx
        from engine.stages import train
        from engine.store import commands, write
        from engine.store.connect import writer

        folder, source = scratch / "ours", scratch / "ours.json"
        shutil.rmtree(folder, ignore_errors=True)
        source.write_text(json.dumps(_rows(data, rows)), encoding="utf-8")
        settings: dict[str, dict[str, object]] = {
            "data": {"heldout_share": 0.0},
            "model": {"name": str(BASE), "max_length": MAX_LENGTH, "device": "cpu", "threads": 1},
            "train": {"method": "full", "gradient_checkpointing": False, "learning_rate": 1e-4} | changed,
        }
        project.create(folder, [source], settings)
        db = writer(folder)
        write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
        commands.set_plan(folder, 1)
        start = time.process_time()
        train.run(StoreCtx(db, folder, configs.load(folder), 0, "train"))
        return {}, {"train_s": time.process_time() - start, "own_tokens": _own_tokens(data, rows)}

    return work


def trl(lora: bool = False, **changed: object) -> Callable[[Path, Path, int], Found]:
    """TRL's trainer with its own settings but ``changed``; what a CPU cannot do is switched off. ``lora``: the adapter
    that our defaults train.
    """

    def work(scratch: Path, data: Path, rows: int) -> Found:
        from datasets import Dataset
        from peft import LoraConfig
        from transformers import AutoModelForCausalLM
        from trl import SFTConfig, SFTTrainer

        from engine.chat.render import load_tokenizer

        own = {"use_cpu": True, "bf16": False, "num_train_epochs": 1, "report_to": "none", **changed}
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(BASE),
            args=SFTConfig(output_dir=str(scratch / "trl"), **own),
            train_dataset=Dataset.from_dict({"messages": _chats(data, rows)}),
            processing_class=load_tokenizer(BASE),
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear") if lora else None,
        )
        start = time.process_time()
        trainer.train()
        return {}, {"train_s": time.process_time() - start, "own_tokens": _own_tokens(data, rows)}

    return work


def padded(scratch: Path, data: Path, rows: int) -> Found:
    """transformers' Trainer with a padding collator, its default batch of 8."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    from engine.chat.render import load_tokenizer, render
    from engine.store.rows import Message

    tokenizer = load_tokenizer(BASE)
    chats = ([Message(m["role"], m["content"]) for m in chat] for chat in _chats(data, rows))
    made = [render(tokenizer, chat, MAX_LENGTH) for chat in chats]
    labels = [[i if on else -100 for i, on in zip(row.ids, row.mask, strict=True)] for row in made]
    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(BASE),
        args=TrainingArguments(
            output_dir=str(scratch / "padded"), use_cpu=True, num_train_epochs=1, report_to="none", save_strategy="no"
        ),
        train_dataset=Dataset.from_dict({"input_ids": [row.ids for row in made], "labels": labels}),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    start = time.process_time()
    trainer.train()
    return {}, {"train_s": time.process_time() - start, "own_tokens": _own_tokens(data, rows)}


ALIKE: dict[str, Any] = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 8, "max_length": MAX_LENGTH}
PIECES: dict[str, Callable[[Path, Path, int], Found]] = {
    "ours-lora": ours(method="lora", gradient_checkpointing=True),
    "trl-lora": trl(lora=True, **ALIKE),
    "ours": ours(),
    "ours-checkpointed": ours(gradient_checkpointing=True),
    "ours-packed": ours(packing=True),
    "trl-alike": trl(**ALIKE),
    "trl": trl(),
    "trl-kept": trl(gradient_checkpointing=False, **ALIKE),
    "padded": padded,
}
NAMES = {
    "ours-lora": "our train stage, LoRA, batch 4 x 8, checkpointed: the defaults",
    "trl-lora": "TRL's SFTTrainer, LoRA, batch 4 x 8, checkpointed",
    "ours": "our train stage, full, batch 4 x 8, activations kept",
    "ours-checkpointed": "our train stage, full, batch 4 x 8, checkpointed",
    "ours-packed": "our train stage, full, packing = true, activations kept",
    "trl-alike": "TRL's SFTTrainer, full, batch 4 x 8, checkpointed",
    "trl": "TRL's SFTTrainer as it comes, full, batches of 8, checkpointed",
    "trl-kept": "TRL's SFTTrainer, full, batch 4 x 8, activations kept",
    "padded": "transformers' Trainer, full, padded batches of 8, activations kept",
}


LIKE = {"ours-lora": "trl-lora", "ours-checkpointed": "trl-alike", "ours": "trl-kept"}
"""What a figure is divided by: the same method, with activations kept or recomputed by both."""


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.sft", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Alpaca rows as JSON")
    parser.add_argument("--rows", type=int, default=320)
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    parser.add_argument("--pieces", nargs="+", choices=PIECES, help="only these")
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.piece:
        run_piece(lambda: PIECES[options.piece](options.out.parent, options.data, options.rows), options.out)
        return 0
    with tempfile.TemporaryDirectory(prefix="middo-sft-") as scratch:
        how = ["--data", str(options.data), "--rows", str(options.rows)]
        found = {name: piece(__file__, name, Path(scratch), how)[0] for name in options.pieces or PIECES}
    speeds = {name: f["own_tokens"] / f["train_s"] for name, f in found.items()}
    body = []
    for name, f in found.items():
        like = LIKE.get(name)
        waste = 1 - f["own_tokens"] / f["tokens"]
        row = [
            f"{speeds[name]:,.0f}",
            f"{speeds[name] / speeds[like]:.2f}" if like in speeds else "",
            f"{f['train_s']:.1f}",
            f"{max(waste, 0):.0%}",
            f"{f['peak_mib']:,.0f}",
        ]
        body.append([NAMES[name], *row])
    head = ["training", "tokens/s", "times its like", "CPU seconds", "padding", "peak MiB"]
    command = shlex.join(
        ["python", "-m", "benchmarks.engine.sft", "--data", options.data.name, "--rows", str(options.rows)]
    )
    about = (
        f"One epoch over {options.rows} real Alpaca rows (cut at {MAX_LENGTH:,} tokens), the demo's 1.4M-parameter "
        "base in float32, one thread. Checkpointed: activations are computed again in the backward pass. Ours includes "
        "loading the model, rendering, metric rows and saving; the others' time is that of `train()` alone."
    )
    text = "\n".join(
        ["# Training speed", "", f"`{command}`", "", machine() + ".", "", about, "", table(head, body), ""]
    )
    options.document.parent.mkdir(parents=True, exist_ok=True)
    options.document.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
