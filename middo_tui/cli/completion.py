"""``middo-tui completion``: the shell script that completes commands, options, presets, stages and folders."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from middo_tui.terminal.console import say

PROGRAM = "middo-tui"
VARIABLE = "_MIDDO_TUI_COMPLETE"
"""The environment variable by which the script asks; click derives the same name."""
SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print the script that completes commands, options, presets, stages and folders in your shell.

    For bash, add eval "$(middo-tui completion bash)" to ~/.bashrc. For zsh, add eval "$(middo-tui completion zsh)" to
    ~/.zshrc, after compinit. For fish, save it as ~/.config/fish/completions/middo-tui.fish.
    """
    say(script(shell))


def script(shell: str) -> str:
    """The script for ``shell``, a key of SHELLS."""
    from middo_tui.cli.commands import main

    # ShellComplete's own source: bash's would first start a bash to see how old it is.
    return ShellComplete.source(SHELLS[shell](main, {}, PROGRAM, VARIABLE)).strip()
