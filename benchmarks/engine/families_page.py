"""docs/benchmarks/families.md from the figures of each family."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from benchmarks.measured import machine, table

Figures = dict[str, Any]
HEAD = (
    "family", "loss", "embedding", "rating", "digit mass", "shared", "replies", "LoRA", "adapters", "full", "saved",
    "packed",
)  # fmt: skip
ABOUT = """
Tiny models with random weights (two layers, 32 numbers wide, 50,000 to 120,000 parameters) of the real architectures
in transformers {transformers}, each with a chat template: TRL's for the family where it has one, else ours. A figure is
the largest absolute difference between ours and plain transformers, in float32 on a CPU.

- **loss**: the scorer, rows of unlike lengths in one batch, against the model's own `loss` of each row alone;
  **embedding**: the prompt's, relative to its norm.
- **rating**, **digit mass**: 18 rating requests, of which the judge computes once what they share if **shared** is yes.
- **replies**: greedy replies to all prompts at once that equal those to each prompt alone.
- **LoRA**, **full**: the losses of four steps of our train stage against a plain loop with AdamW, from the same
  adapter, with the balance of experts where the family has it. **adapters**: what "all-linear" reaches. peft leaves
  experts as they are where all of a layer's are one tensor.
- **saved**: the losses of what was saved, read by us, against plain transformers on the same files and against the
  loop's model.
- **packed**: the first step's loss with packed rows against padded ones. ✘: the family lets packed samples see each
  other (recurrent layers on a CPU, a bias by distance, masks made without positions), so training refuses
  `packing = true` and says so. The padding behind packed rows counts in the balance of experts.
"""


def page(found: Mapping[str, Figures], kinds: Mapping[str, str]) -> str:
    """docs/benchmarks/families.md.

    Args:
        found: figures by family. kinds: each family's ``model_type``.
    """
    said = ABOUT.format(transformers=metadata.version("transformers"))
    notes = [
        f"- {name}, {key.removesuffix(' refused').removesuffix(' failed')}: {value}"
        for name, own in found.items()
        for key, value in own.items()
        if key.endswith((" refused", " failed"))
    ]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("transformers", "trl", "peft"))
    rows = [[name, *_cells(own)] for name, own in found.items()]
    text = ["# Model families", "", "`python -m benchmarks.engine.families`", "", f"{machine()}, {versions}.", said]
    text += [f"{len(found)} variants of {len({kinds[name] for name in found})} architectures.", ""]
    return "\n".join([*text, table(HEAD, rows), *(["", "✘ means:", "", *notes] if notes else []), ""])


def _cells(own: Figures) -> list[str]:
    saved = [own[key] for key in ("lora saved", "lora end", "full saved", "full end") if key in own]
    values = [own.get(key) for key in ("loss", "embedding", "rating", "mass")]
    shared = {True: "yes", False: "no", None: "✘"}[own.get("shared")]
    more = [own.get(key) for key in ("lora", "targets", "full")]
    return [
        *map(_cell, values),
        shared,
        *map(_cell, (own.get("replies"), *more, max(saved, default=None), own.get("packed"))),
    ]


def _cell(value: float | str | None) -> str:
    if value is None:
        return "✘"
    return f"{value:.0e}" if isinstance(value, float) else str(value)
