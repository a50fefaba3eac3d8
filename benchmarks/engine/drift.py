"""Which rewrites that drifted to another task are doubted? Invented ones, by a real model.

    python -m benchmarks.engine.drift --model SmolLM2-135M-Instruct --rows alpaca_1k.json

``drift_cases.json`` has prompts in the style of Alpaca, each with a faithful rewrite and one that shares its words and
asks for something else. Both are held against their original by words (``engine.verification.topics``) and by the base
model (``engine.verification.drift``), with references and pairs drawn from the rows. Writes docs/benchmarks/drift.md.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks import ROOT
from benchmarks.measured import machine, table
from engine.config import schema
from engine.models import locate
from engine.models.locate import ModelRef
from engine.signals import losses
from engine.store.rows import Message, Sample
from engine.verification import drift
from engine.verification.text_checks import Exchange
from engine.verification.topics import REFERENCES, Topics

DOCUMENT = ROOT / "docs" / "benchmarks" / "drift.md"
CASES = Path(__file__).with_name("drift_cases.json")


@dataclass(frozen=True, slots=True)
class Held:
    """A rewrite held against its original. ``words``: the share of random samples that have less to do with it."""

    prompt: str
    rewrite: str
    drifted: bool
    words: float
    ifd: float
    original_ifd: float


def sample(number: int, one: dict[str, str]) -> Sample:
    """A prompt and a response as a sample."""
    return Sample(id=number, messages=(Message("user", one["prompt"]), Message("assistant", one["response"])), seq=0)


def exchange(one: dict[str, str]) -> Exchange:
    """The same as text."""
    return Exchange(one["prompt"], one["response"])


def held(config: schema.Config, base: ModelRef, topics: Topics) -> list[Held]:
    """Every rewrite of the cases."""
    cases = json.loads(CASES.read_text(encoding="utf-8"))
    own = losses.ifds(config, base, [sample(0, case["original"]).messages for case in cases])
    pairs = [(case, name, ifd) for case, ifd in zip(cases, own, strict=True) for name in ("faithful", "drifted")]
    under = [drift.crossed(sample(0, case["original"]), case[name]["response"]) for case, name, _ in pairs]
    found = losses.ifds(config, base, under)
    out = []
    for (case, name, ifd), crossed in zip(pairs, found, strict=True):
        words = topics.share(exchange(case["original"]), exchange(case[name])) or 0.0
        prompts = case["original"]["prompt"], case[name]["prompt"]
        out.append(Held(*prompts, name == "drifted", words, crossed or 0.0, ifd or 0.0))
    return out


def page(found: Sequence[Held], bound: float, pairs: int, model: str) -> str:
    """The document."""
    limit = schema.Verify().on_topic

    def doubted(one: Held) -> tuple[bool, bool]:
        return one.words <= limit, one.original_ifd < bound <= one.ifd

    rows = []
    for name, drifted in (("faithful", False), ("drifted", True)):
        mine = [doubted(one) for one in found if one.drifted is drifted]
        counts = sum(a for a, _ in mine), sum(b for _, b in mine), sum(a or b for a, b in mine)
        rows.append((name, len(mine), *counts))
    single = [
        (
            one.prompt.replace("\n", " "),
            one.rewrite.replace("\n", " "),
            f"{one.ifd:.2f}",
            "yes" if any(doubted(one)) else "",
        )
        for one in found
        if one.drifted
    ]
    return "\n\n".join(
        [
            "# Rewrites that drift",
            f"Made by `benchmarks/engine/drift.py` with {model}, {machine()}.",
            "How many invented rewrites are doubted, of those that ask for the same as their original in other words,"
            " and of those that share its words and ask for something else. *words*: they share less with the original"
            f" than {limit:.0%} of random samples. *answer*: the original's prompt explains its own answer but not the"
            f" new one: the new answer's IFD under it is {bound:.3f} or more, as that of {limit:.0%} of"
            f" {pairs} random answers under random prompts.",
            table(("rewrites", "cases", "by words", "by answer", "by either"), rows),
            "The drifted ones:",
            table(("original", "rewrite", "IFD", "doubted"), single),
        ]
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a folder with a chat model")
    parser.add_argument("--rows", type=Path, required=True, help="a JSON list of Alpaca rows")
    parser.add_argument("--pairs", type=int, default=drift.PAIRS, help="random prompts with random answers")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    model = schema.Model(name=str(options.model), device="cpu", dtype="float32", threads=options.threads)
    config = msgspec.structs.replace(schema.Config(), model=model)
    base = ModelRef(locate.locate(str(options.model), ROOT))
    rows = [
        {"prompt": f"{row['instruction']}\n{row['input']}".strip(), "response": row["output"]}
        for row in json.loads(options.rows.read_text(encoding="utf-8"))
    ]
    drawn = random.Random(0).sample(rows, max(2 * options.pairs, REFERENCES))
    topics = Topics.of((i, exchange(row)) for i, row in enumerate(drawn[:REFERENCES]))
    pairs = drift.crossed_pairs([sample(i, row) for i, row in enumerate(drawn[: 2 * drift.PAIRS])])[: options.pairs]
    bound = drift.bound_of(losses.ifds(config, base, pairs), config.verify.on_topic)
    DOCUMENT.write_text(
        page(held(config, base, topics), bound, len(pairs), options.model.name) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
