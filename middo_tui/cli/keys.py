"""``middo-tui keys``: every action with its id, its keys now and what it does, for whoever writes a keys.toml."""

from __future__ import annotations

import click

from middo_tui.terminal.console import say


@click.command("keys")
def keys_command() -> None:
    """List every key and its id for keys.toml."""
    from middo_tui.keys import keymap, tables
    from middo_tui.look import preferences

    found = preferences.load()
    checked = keymap.check(found.keys)
    all_tables = keymap.tables()
    tables.use_remapped(checked.keys)
    for screen, table in all_tables.items():
        for row in tables.remapped(table, screen):
            id = f"{screen}.{tables.plain_id(row)}"
            mark = "*" if id in checked.keys else " "
            shown = " ".join(tables.name(key) for key in row.keys)
            say(f"{mark} {id:<28} {shown:<18} {row.help}")
    place = preferences.folder() / "keys.toml"
    say(f'\nYour own: {place}, for example\n  [keys]\n  "loop.pause" = "x"\n  "app.help" = ["f1", "f2"]')
    for warning in (*found.warnings, *checked.warnings):
        say(warning, err=True)
