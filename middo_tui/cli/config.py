"""``middo-tui config``: a project's settings, and the JSON Schema by which editors complete and check config.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import say

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@click.command("config")
@click.argument("folder", type=FOLDER, default=".")
@click.option("--all", "all_", is_flag=True, help="Print every setting, also those with their default value.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of config.toml for editors, and no settings.")
def config_command(folder: Path, all_: bool, schema: bool) -> None:
    """Print a project's settings that differ from the defaults, as TOML."""
    if schema:
        import json

        say(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return
    from engine.config import schema as configs
    from engine.config.schema import Config
    from middo_tui.feed.settings import flat

    default = flat(Config())
    changed = {key: value for key, value in flat(configs.load(folder)).items() if all_ or value != default[key]}
    section = ""
    for key, value in changed.items():
        table, _, name = key.rpartition(".")
        if table != section:
            say(f"{'' if not section else chr(10)}[{table}]")
            section = table
        say(f"{name} = {value}")
    if not changed:
        say("# every setting has its default value")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of config.toml: types, limits and defaults of the structs, meanings from the template's comments.

    Renamed keys are in it as deprecated, since they are still read.
    """
    import msgspec

    from engine.config.renamed import RENAMED
    from engine.config.schema import Config
    from middo_tui.feed.settings import comments

    (whole,), found = msgspec.json.schema_components([Config], ref_template="#/$defs/{name}")
    sections = {name: spec["$ref"].rpartition("/")[2] for name, spec in found["Config"]["properties"].items()}
    for dotted, said in comments().items():
        section, _, key = dotted.partition(".")
        found[sections[section]]["properties"][key]["description"] = said
    for dotted, new in RENAMED.items():
        section, _, old = dotted.partition(".")
        keys = found[sections[section]]["properties"]
        keys[old] = {**keys[new], "description": f"The old name of {new}.", "deprecated": True}
    schema = {"$schema": DIALECT, "title": "config.toml of a middo-tui project", **whole, "$defs": found}
    return msgspec.json.decode(msgspec.json.encode(schema), type=dict[str, Any])  # lists for tuples
