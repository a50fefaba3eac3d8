"""The dataset card (README.md) of an exported folder: a YAML header for the Hub and ``datasets``, and Markdown."""

from __future__ import annotations

from typing import Any

from engine.formats import markdown_escape
from engine.formats.shaping import FLAWS, PROVENANCE

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
NO_LICENCE = "# license: add one before you share this; the terms of the source data and of the teacher model apply"


def card(rows: list[dict[str, Any]], files: str, story: str, licence: str | None = None) -> str:
    """The card of a folder whose rows lie in ``files`` (a glob). ``story`` is Markdown: how the rows came about.

    ``licence`` is a header line that a person wrote into an older card of the same folder.
    """
    size = next((name for limit, name in SIZES if len(rows) < limit), "1M<n<10M")
    header = [
        "---",
        "task_categories:",
        "- text-generation",
        "size_categories:",
        f"- {size}",
        "tags:",
        "- instruction-tuning",
        "- middo",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        f'    path: "{files}"',
        licence or NO_LICENCE,
        "---",
    ]
    there = list(rows[0]) if rows else []
    body = [
        "# Instruction dataset",
        f"{len(rows):,} conversations. Each row's `messages` is a list of turns with `role`, `content` and `kind`"
        " (`function_call` or `observation`; empty for plain turns)."
        + (f" Turns also have {_listed(more)}." if (more := _turn_columns(rows)) else "")
        + (" `tools` is JSON text." if "tools" in there else ""),
    ]
    if _traced(there):
        rewritten = sum(row["parent"] is not None for row in rows)
        body.append(f"`id`, `parent`, `axis` and `round` say where a row comes from: {rewritten:,} rows are rewrites.")
    if set(FLAWS) <= set(there):
        body.append(
            "`flaw` (0 to 1) says how flawed a row looks to the base model, beside the others; `looks_wrong` names the"
            " figure that looks worst. Empty for rows that were not scored yet."
        )
    ours = {"messages", "tools", *(PROVENANCE if _traced(there) else ()), *(FLAWS if set(FLAWS) <= set(there) else ())}
    if others := [name for name in there if name not in ours]:
        body.append(f"Columns of the source data, empty for samples that were added: {_listed(others)}.")
    return "\n".join(header) + "\n\n" + "\n\n".join([*body, *([story] if story else [])]) + "\n"


def _traced(columns: list[str]) -> bool:
    return set(PROVENANCE) <= set(columns)


def _turn_columns(rows: list[dict[str, Any]]) -> list[str]:
    first: dict[str, Any] = next((turn for row in rows for turn in row["messages"]), {})
    return [name for name in first if name not in ("role", "content", "kind")]


def _listed(names: list[str]) -> str:
    return ", ".join(markdown_escape.plain(name) for name in names)
