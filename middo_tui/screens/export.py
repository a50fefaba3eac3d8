"""Asks what to write a dataset as. It goes into the project's own ``exports`` folder."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path
from typing import ClassVar, NamedTuple

from textual import events
from textual.binding import Binding, BindingType

from engine.plurals import counted
from middo_tui.screens.bottom_menu import BottomMenu
from middo_tui.terminal.guard import clean
from middo_tui.widgets.choices import Item, Menu

FORMATS: dict[str, tuple[str, str]] = {
    "alpaca": (".json", "instruction, input, output"),
    "sharegpt": (".json", "conversations with from and value"),
    "messages": (".jsonl", "OpenAI messages, one sample per line"),
    "parquet": (".parquet", "one table of messages"),
    "hf": ("", "folder for load_from_disk, with a card"),
    "hub": ("", "folder for load_dataset and the Hugging Face Hub, with a card"),
}
"""The ending of the file and what is in it, by format."""


class Wanted(NamedTuple):
    """What to write: the dataset of ``round`` as ``format``."""

    round: int
    format: str


def place(project: Path, wanted: Wanted) -> Path:
    """Where a dataset goes: a name that nothing has yet."""
    folder, name, ending = project / "exports", f"round-{wanted.round}-{wanted.format}", FORMATS[wanted.format][0]
    names = chain([f"{name}{ending}"], (f"{name}-{at}{ending}" for at in count(2)))
    return next(folder / one for one in names if not (folder / one).exists())


def export(project: Path, wanted: Wanted) -> str:
    """Write it; says where it is.

    Raises:
        UsageError, DataError, StoreError: it cannot be written; nothing is.
    """
    from engine.project.folder import export as write  # brings the file formats along: only when it is used

    out = place(project, wanted)
    rows = counted(write(project, out, wanted.round, wanted.format), "row")
    return f"Exported {rows} of round {wanted.round}'s dataset ({wanted.format}) to {clean(str(out)).text}"


class AskFormat(BottomMenu[Wanted]):
    """A list of formats; with a dataset that ``round`` made, of that one too. Dismisses with None on escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "dismiss(None)", "back", show=False)]

    def __init__(self, round: int, made: bool) -> None:
        sets = [(round, f"Dataset of round {round} (trained on in round {round})")]
        if made:
            sets.append((round + 1, f"Dataset of round {round + 1} (after the merge of round {round})"))
        wanted: list[Wanted | None] = []
        items = []
        for number, heading in sets:
            items += [Item(heading, heading=True)]
            items += [Item(name, about) for name, (_, about) in FORMATS.items()]
            wanted += [None, *(Wanted(number, name) for name in FORMATS)]
        question = "Export which dataset, in which format? It is written to the exports folder."
        super().__init__(question, Menu(tuple(items), at=1, column=10), wanted, "export")

    def on_key(self, event: events.Key) -> None:
        """No key falls through to the screen below."""
        if event.key.isdigit():
            event.stop()
