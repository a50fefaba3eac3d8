"""Are copies told from other prompts by their embeddings? Real prompts and small edits of them, by a real model.

    python -m benchmarks.engine.near_duplicates --model SmolLM2-135M-Instruct --rows alpaca_1k.json

Every prompt's nearest other prompt is what chance calls a duplicate; edits that change no more than a word or a sign
are what should be called one. Writes docs/benchmarks/near-duplicates.md.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks import ROOT
from benchmarks.measured import machine, table
from engine.backends import backend
from engine.chat import batches
from engine.chat.render import render_bare
from engine.signals.nearest import Floats
from engine.verification.corpus import Corpus
from engine.verification.near_duplicates import NearDuplicates
from engine.verification.text_checks import Exchange
from engine.verification.topics import REFERENCES, Topics

DOCUMENT = ROOT / "docs" / "benchmarks" / "near-duplicates.md"
EDITED = 120
SYNONYMS = {
    "Create": "Make",
    "Generate": "Produce",
    "Write": "Compose",
    "Describe": "Explain",
    "Find": "Identify",
    "Give": "Provide",
    "Name": "List",
    "What": "Which",
    "Explain": "Describe",
    "Identify": "Find",
    "List": "Name",
    "Provide": "Give",
    "the": "a",
}


def edits(text: str, rng: random.Random) -> dict[str, str]:
    """Small edits of a prompt, by kind; a kind that would change nothing is left out."""
    words = text.split()
    gone, wrong = rng.randrange(len(words)), rng.randrange(len(words))
    typo = [*words]
    typo[wrong] = typo[wrong][:-1] if len(typo[wrong]) > 3 else typo[wrong] + "s"
    found = {
        "lower case, no full stop": text.rstrip(".?!").lower(),
        "please": f"Please {text[0].lower()}{text[1:]}",
        "a word left out": " ".join(words[:gone] + words[gone + 1 :]),
        "a typo": " ".join(typo),
        "synonyms": " ".join(SYNONYMS.get(word, word) for word in words),
        "other numbers": re.sub(r"\d+|\b(?:two|three|five)\b", "seven", text),
    }
    return {kind: edited for kind, edited in found.items() if edited.strip() and edited != text}


def embedded(folder: Path, texts: Sequence[str], threads: int) -> Floats:
    """Embeddings of bare prompts, float32[n, D], as the score stage makes them."""
    model = backend("hf")(folder, dtype="float32", device="cpu", threads=threads)
    rows = [render_bare(model.tokenizer, text, 512) for text in texts]
    out: list[Floats | None] = [None] * len(rows)
    for batch in batches.plan([len(row.ids) for row in rows], 2048):
        for i, scored in zip(batch, model.score([rows[i] for i in batch]), strict=True):
            out[i] = scored.embedding
    return np.array(out, dtype=np.float32)


def found_at(kept: Floats, edited: Floats, of: Sequence[int]) -> float:
    """Which share of the edits is nearer to its prompt than 99 % of the prompts are to another one."""
    unit, queries = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (kept, edited))
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -1.0)
    bound = np.quantile(similarity.max(axis=1), 0.99)
    return float((np.einsum("nd,nd->n", unit[list(of)], queries) >= bound).mean())


def page(folder: Path, answers: Mapping[str, str], threads: int) -> str:
    """The document. ``answers``: by prompt."""
    prompts, rng = [*answers], random.Random(0)
    drawn = rng.sample(range(len(prompts)), EDITED)
    edited = [(i, kind, text) for i in drawn for kind, text in edits(prompts[i], rng).items()]
    texts, of = [text for *_, text in edited], [i for i, *_ in edited]
    every = embedded(folder, [*prompts, *texts], threads)
    kept, queries = every[: len(prompts)], every[len(prompts) :]
    words = rng.sample(range(len(prompts)), REFERENCES)
    topics = Topics.of((i, Exchange(prompts[i], answers[prompts[i]])) for i in words)
    known = NearDuplicates.of(prompts.__getitem__, kept.astype(np.float16), topics)
    among = known.find(prompts, kept.astype(np.float16), np.arange(len(prompts)))
    twins = known.find(texts, queries.astype(np.float16), np.full(len(texts), -1))
    rule = [twin is not None and twin.row == i for twin, i in zip(twins, of, strict=True)]
    corpus = Corpus.of(dict(enumerate(prompts)))
    copies = [corpus.near(text) is not None for text in texts]
    lines = []
    for kind in sorted({kind for _, kind, _ in edited}):
        mine = [(a, b, a or b) for a, b, (_, other, _) in zip(copies, rule, edited, strict=True) if other == kind]
        lines.append((kind, len(mine), *(f"{sum(column) / len(mine):.0%}" for column in zip(*mine, strict=True))))
    mean, scale = kept.mean(axis=0), kept.std(axis=0)
    ways = {
        "plain cosine": (kept, queries),
        "centred": (kept - mean, queries - mean),
        "centred and scaled": ((kept - mean) / scale, (queries - mean) / scale),
    }
    return "\n\n".join(
        [
            "# Near duplicates",
            f"Made by `benchmarks/engine/near_duplicates.py` with {folder.name}, {machine()}.",
            f"{len(prompts):,} prompts of Alpaca and {len(texts)} small edits of {EDITED} of them. By the rule of"
            f" `engine/verification/near_duplicates.py`, {sum(one is not None for one in among)} of the prompts are"
            f" duplicates of another one, and {sum(rule) / len(rule):.0%} of the edits are found. By the text alone"
            " (nine of ten runs of three words), by the rule, and by either:",
            table(("edit", "edits", "text", "rule", "either"), lines),
            "What similarity alone finds of the edits, with a bound by which one prompt in a hundred is a duplicate:",
            table(("embeddings", "found"), [(name, f"{found_at(*rows, of):.0%}") for name, rows in ways.items()]),
        ]
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a folder with a chat model")
    parser.add_argument("--rows", type=Path, required=True, help="a JSON list of Alpaca rows")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    rows = json.loads(options.rows.read_text(encoding="utf-8"))[: options.count]
    answers = {f"{row['instruction']}\n{row['input']}".strip()[:1500]: row["output"] for row in rows}
    DOCUMENT.write_text(page(options.model, answers, options.threads) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
