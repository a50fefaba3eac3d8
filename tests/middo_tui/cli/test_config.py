"""``middo-tui config``: what differs from the defaults, and the schema for editors."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from engine.config import defaults
from engine.config.schema import Config, parse
from engine.errors import ConfigError
from middo_tui.cli.commands import main
from middo_tui.cli.config import json_schema


def printed(*args: str | Path) -> str:
    done = CliRunner().invoke(main, ["config", *map(str, args)])
    assert done.exit_code == 0, done.output
    return done.output


def test_only_what_differs_is_printed_and_it_is_a_config(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[train]\nepochs = 3\nlora_r = 16\n[teacher]\nmodel = "a\\u001bb"\n')
    text = printed(tmp_path)
    assert tomllib.loads(text) == {"train": {"epochs": 3.0}, "teacher": {"model": "a\x1bb"}}
    assert "\x1b" not in text


def test_all_settings_are_printed_as_toml(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    assert parse(printed(tmp_path, "--all"), "what was printed") == Config()
    assert printed(tmp_path) == "# every setting has its default value\n"


def keys() -> list[tuple[str, str, dict[str, Any]]]:
    """Every section and key of the schema with what it says."""
    schema = json_schema()
    found = schema["$defs"]
    sections = found["Config"]["properties"].items()
    return [
        (section, key, said)
        for section, spec in sections
        for key, said in found[spec["$ref"].rpartition("/")[2]]["properties"].items()
    ]


def test_the_schema_has_every_key_with_its_meaning() -> None:
    there = {f"{section}.{key}" for section, key, said in keys() if said["description"]}
    wanted = {
        f"{s}.{key}" for s, values in msgspec.structs.asdict(Config()).items() for key in values.__struct_fields__
    }
    assert there == wanted | {"loop.min_yield"}
    assert [key for _, key, said in keys() if said.get("deprecated")] == ["min_yield"]


def test_the_schema_is_printed_as_json() -> None:
    assert json.loads(printed("--schema")) == json_schema()


BAD = (
    '[train]\nmethod = "laura"', "[train]\nepochs = 0", "[train]\nlora_r = 1.5", "[train]\nepocs = 1", "[trian]\na = 1",
    '[data]\ncolumns = ["a"]', '[teacher]\nkey_env = "sk-123"', "[select]\nmax_share = 1.5",
)  # fmt: skip
GOOD = (
    "", '[model]\nname = "demo:base"', "[train]\nepochs = 1", "[loop]\nmin_yield = 0.1",
    '[teacher]\nmodel = "m"\nbudget_cost = 1.5\nprices = {m = {input = 1, output = 2.5}}',
    '[train]\nlora_targets = ["q_proj"]\nreport_to = ["wandb"]',
)  # fmt: skip


@pytest.mark.parametrize("text", [*GOOD, defaults.TEMPLATE.read_text(encoding="utf-8")], ids=range(len(GOOD) + 1))
def test_an_editor_accepts_what_the_program_reads(text: str) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    parse(text, "x")
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(tomllib.loads(text), json_schema())


@pytest.mark.parametrize("text", BAD)
def test_an_editor_marks_what_the_program_refuses(text: str) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    with pytest.raises(ConfigError):
        parse(text, "x")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(text), json_schema())
