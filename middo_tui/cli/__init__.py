"""The command line, one file per command."""

from middo_tui.cli.commands import main as main
