"""``python -m middo_tui.cli``: the program under another name."""

from middo_tui.cli.commands import main

main()
