"""Types of arguments and options that several commands take, with what a shell may complete them to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


class ProjectFolder(click.Path):
    """A project's folder. Whether it is one is checked where it is opened."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Folders only."""
        return [CompletionItem(incomplete, type="dir")]


FOLDER = ProjectFolder()


def one_of(names: Callable[[], Iterable[str]]) -> Completion:
    """A completion to ``names``, which are only computed when a shell asks."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names() if name.startswith(incomplete)]

    return complete
