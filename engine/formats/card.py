"""The dataset card (README.md) of an exported folder: a YAML header for the Hub and ``datasets``, and Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from engine.formats import markdown_escape
from engine.formats.export_rows import FLAWS, ExportLayout
from engine.plurals import counted

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
NO_LICENCE = "# license: add one before you share this; the terms of the source data and of the teacher model apply"


def card(layout: ExportLayout, files: str, story: str, licence: str | None = None) -> str:
    """The card of a folder whose rows lie in ``files`` (a glob). ``story`` is Markdown: how the rows came about.

    ``licence`` is a header line that a person wrote into an older card of the same folder.
    """
    size = next((name for limit, name in SIZES if layout.size < limit), "1M<n<10M")
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
    body = [
        "# Instruction dataset",
        f"{counted(layout.size, 'conversation')}. Each row's `messages` is a list of turns with `role`, `content` and"
        " `kind` (`function_call` or `observation`; empty for plain turns)."
        + (f" Turns also have {_listed(layout.keys)}." if layout.keys else "")
        + (" `tools` is JSON text." if layout.tools else ""),
    ]
    if layout.ours:
        body.append(
            "`id`, `parent`, `axis` and `round` say where a row comes from:"
            f" {counted(layout.rewritten, 'row is a rewrite', 'rows are rewrites')}."
        )
    if set(FLAWS) <= set(layout.ours):
        body.append(
            "`flaw` (0 to 1) says how flawed a row looks to the base model, beside the others; `looks_wrong` names the"
            " figure that looks worst. Empty for rows that were not scored yet."
        )
    if layout.names:
        others = _listed(layout.names.values())
        body.append(f"Columns of the source data, empty for samples that were added: {others}.")
    return "\n".join(header) + "\n\n" + "\n\n".join([*body, *([story] if story else [])]) + "\n"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(markdown_escape.plain(name) for name in names)
