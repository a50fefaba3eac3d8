"""LoRA training: ours beside TRL and LLaMA-Factory, with the same settings on the same rows, one after the other.

    python -m benchmarks.engine.training_peers --data alpaca_1k.json --rows 120 --times 3

TRL is the version that this project trains with. LLaMA-Factory needs older ones of transformers, TRL and PEFT, and is
installed into an environment of its own under ``--folder`` (2 GB). Writes docs/benchmarks/training-peers.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from benchmarks import ROOT, peer_environments
from benchmarks.measured import machine, table

if TYPE_CHECKING:
    from engine.chat.render import Rendered

PAGE = ROOT / "docs" / "benchmarks" / "training-peers.md"
DEMO = ROOT / "engine" / "demo" / "base"
PEER = ("llamafactory==0.9.5", "torch==2.13.0", "torchvision==0.28.0")
UNFIT = ("torchvision", "torchaudio")
"""Their wheels load beside CUDA's torch only, and text needs neither."""
LONGEST, CUT = 1024, 1000
"""Tokens of a packed row; of a sample, cut a little shorter: LLaMA-Factory drops samples as long as its rows."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One line of the page. ``side`` and ``flags`` are what `train_sides` is told."""

    side: str
    said: str
    flags: tuple[str, ...]
    differs: str = ""


GROUPS: dict[str, tuple[Arm, ...]] = {
    "Checkpointed": tuple(
        Arm(side, said, ("--recompute",))
        for side, said in (("ours", "ours"), ("trl", "TRL"), ("llamafactory", "LLaMA-Factory"))
    ),
    "Activations kept": tuple(
        Arm(side, said, ()) for side, said in (("ours", "ours"), ("trl", "TRL"), ("llamafactory", "LLaMA-Factory"))
    ),
    "Packing, checkpointed": tuple(
        Arm(side, said, ("--packing", "--recompute"), differs)
        for side, said, differs in (
            ("ours", "ours", ""),
            ("trl", "TRL", ""),
            ("llamafactory", "LLaMA-Factory, `neat_packing`", ""),
            ("llamafactory-mixed", "LLaMA-Factory, `packing`", "samples of a row see each other: other losses"),
        )
    ),
}


def rendered(data: Path, model: Path, count: int, longest: int) -> list[Rendered]:
    """The first ``count`` rows as ours renders them, without what follows an answer's last token."""
    from engine.chat.render import load_tokenizer, render
    from engine.store.rows import Message

    tokenizer, out = load_tokenizer(model), []
    for row in json.loads(data.read_text(encoding="utf-8"))[:count]:
        asked = "\n\n".join(filter(None, (row["instruction"], row["input"])))
        chat = [Message("user", asked), Message("assistant", row["output"] or "none")]
        made = render(tokenizer, chat, longest)
        end = len(made.mask) - made.mask[::-1].index(True)
        out.append(replace(made, ids=made.ids[:end], mask=made.mask[:end], own=[], offsets=[]))
    return out


def written(rows: Sequence[Rendered], file: Path) -> Path:
    """The rows as `train_sides` reads them."""
    made = [
        {"input_ids": list(row.ids), "labels": [i if on else -100 for i, on in zip(row.ids, row.mask, strict=True)]}
        for row in rows
    ]
    file.write_text(json.dumps(made), encoding="utf-8")
    return file


def run(arm: Arm, python: Path, model: Path, rows: Path, scratch: Path) -> dict[str, Any]:
    """One run of one side, in a process of its own."""
    out = scratch / "out.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    command = [str(python), "-m", "benchmarks.engine.train_sides", arm.side, *arm.flags, "--longest", str(LONGEST)]
    command += ["--model", str(model), "--rows", str(rows), "--out", str(out)]
    subprocess.run(command, check=True, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    out.unlink()
    sys.stderr.write(f"{arm.side} {' '.join(arm.flags)}: {found['seconds']:.1f} s\n")
    return found


def section(title: str, arms: Sequence[Arm], found: Sequence[Sequence[dict[str, Any]]], own: int) -> list[str]:
    """A table: ratios are of runs that followed each other."""
    body = []
    for arm, runs in zip(arms, found, strict=True):
        speeds = [own / one["seconds"] for one in runs]
        ratios = [mine["seconds"] / one["seconds"] for mine, one in zip(found[0], runs, strict=True)]
        spread = f"{median(ratios):.2f}" + (f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(runs) > 1 else "")
        body.append(
            [
                f"{arm.said} ({arm.differs})" if arm.differs else arm.said,
                f"{median(speeds):,.0f}",
                "1" if arm is arms[0] else spread,
                f"{max(1 - own / runs[0]['computed'], 0):.0%}",
                f"{fmean(chain.from_iterable(one['losses'] for one in runs)):.3f}",
                f"{median(one['peak_mib'] for one in runs):,.0f}",
            ]
        )
    head = ["side", "tokens per CPU second", "speed, ours = 1", "padding", "mean loss", "peak resident MiB"]
    return [f"### {title}", "", table(head, body), ""]


def about(asked: argparse.Namespace, versions: Sequence[dict[str, str]]) -> Iterator[str]:
    """The page's beginning."""
    here, there = versions
    yield from ("# Training beside TRL and LLaMA-Factory", "")
    yield from (f"`{shlex.join(['python', '-m', 'benchmarks.engine.training_peers', *asked.said])}`", "")
    yield from (f"{machine()}. {asked.note}".rstrip(), "")
    said = [
        ", ".join(f"{name} {one[name]}" for name in one if name not in ("torch", "llamafactory")) for one in versions
    ]
    yield (
        f"LoRA (rank 16, all linear layers), batches of 4, 8 a step, AdamW, one epoch in float32 with one thread, the"
        f" same for every side; so are the rows: Alpaca's, cut at {CUT:,} tokens, given as token ids and labels. Ours"
        f" and TRL run with {said[0]}; LLaMA-Factory {there.get('llamafactory', '')} with {said[1]}, the newest that it"
        f" allows; all with torch {here['torch'].partition('+')[0]}. A process for each run, in turn, {asked.times} of"
        " each (of several: the median, and the least and the most of the ratios). CPU seconds are those of the steps"
        " alone: reading the model, rendering and saving are left out on every side. The mean loss tells that all learn"
        " the same; it differs a little, as each side shuffles in its own way."
    )
    yield from (
        "",
        "What makes the difference without packing is that ours shares out a step's samples among its batches by length"
        " (`train.balance`), so it follows from the padding that the others have on these rows.",
        "",
    )


def said(words: Sequence[str]) -> list[str]:
    """The words of a command for the page: no folders of this machine, no note."""
    kept = [word for before, word in zip(["", *words], words, strict=False) if "--note" not in (before, word)]
    return [Path(word).name for word in kept]


def main(asked: argparse.Namespace) -> None:
    """Install, measure in turn, write the page."""
    peer = peer_environments.python(asked.folder, "llamafactory", PEER, UNFIT)
    own_python = Path(sys.executable)
    models = [("The demo's base, 1.4M parameters", DEMO, asked.rows)]
    models += [(asked.model.name, asked.model, asked.model_rows)] if asked.model else []
    lines: list[str] = []
    versions: dict[bool, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="middo-peers-") as folder:
        for name, model, count in models:
            rows = rendered(asked.data, model, count, CUT)
            own, file = sum(len(row.ids) for row in rows), written(rows, Path(folder) / "rows.json")
            learned = sum(sum(row.mask) for row in rows)
            lines += [f"## {name}", "", f"{count} rows, {own:,} tokens, {learned:,} of them learned.", ""]
            for title in asked.groups:
                arms = GROUPS[title]
                found: list[list[dict[str, Any]]] = [[] for _ in arms]
                for _ in range(asked.times):
                    for runs, arm in zip(found, arms, strict=True):
                        runs.append(
                            run(arm, peer if arm.side.startswith("llama") else own_python, model, file, Path(folder))
                        )
                        versions[arm.side.startswith("llama")] = runs[-1]["versions"]
                lines += section(title, arms, found, own)
                told = about(asked, [versions[False], versions[True]])
                PAGE.write_text("\n".join([*told, *lines]), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Alpaca rows as JSON")
    parser.add_argument("--rows", type=int, default=120, help="rows for the demo's base")
    parser.add_argument("--model", type=Path, help="a second model's folder, e.g. SmolLM2's (`make real-model`)")
    parser.add_argument("--model-rows", type=int, default=32, help="rows for that model")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--folder", type=Path, default=peer_environments.FOLDER)
    parser.add_argument("--note", default="", help="a sentence for the page, e.g. what else the machine was doing")
    found = parser.parse_args()
    found.said = said(sys.argv[1:])
    main(found)
