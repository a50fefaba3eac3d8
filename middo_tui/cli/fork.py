"""``middo-tui fork``: copy a project as it was before a round's select stage, to try other settings."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

import click

from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import say


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--round", "round_", type=click.IntRange(0), default=0, show_default=True, help="Round to fork at.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting in the copy. Repeatable.")
def fork(folder: Path, out: Path, round_: int, changes: tuple[str, ...]) -> None:
    """Copy a project as it was before a round's select stage, to compare other settings.

    The copy shares earlier models and signals, and its next run starts with the select stage. For example, --set
    merge.flawed=drop shows the effect of dropping flawed samples without a teacher.
    """
    from engine.project.fork import fork as copy

    copy(folder, out, round_, dict(_change(text) for text in changes))
    at = quote(str(out))
    say(f"{out}: a copy of {folder} before round {round_} selected.")
    say(f"Run it: middo-tui run {at} --rounds {round_ + 1} --wait")
    say(f"Then compare: middo-tui compare {quote(str(folder))} {at}")


def _change(text: str) -> tuple[str, Any]:
    """``merge.flawed=drop``: a dotted key with its value in TOML; a bare word is a string.

    Raises:
        UsageError: there is no key or no value, or the value begins like a list, a table or a quoted text and is none.
    """
    from engine.config import toml_text
    from engine.errors import UsageError

    key, sign, value = text.partition("=")
    if not sign or not key.strip() or not value.strip():
        raise UsageError(f"--set {text}: give KEY=VALUE, e.g. merge.flawed=drop.")
    try:
        return key.strip(), toml_text.value(value)
    except toml_text.NotToml as error:
        if value.strip()[0] in "[{\"'" or "\n" in value.strip():
            raise UsageError(f"--set {key.strip()}={error}. Write a list as ['a', 'b'] and a text as 'a b'.") from None
        return key.strip(), value.strip()
