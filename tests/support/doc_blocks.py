"""The fenced code blocks of the documentation, and a check for each language that says what is wrong with a block."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import yaml

from engine.config import schema
from engine.errors import MiddoError
from middo_tui.cli.commands import main
from middo_tui.keys import keymap
from middo_tui.look import preferences

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
PROJECTS = frozenset({"my-project", "middo-demo", "DIR"})
"""What the pages call a project's folder: the only words that may stand where a command is expected."""
OTHERS = frozenset(
    {
        "asciinema",
        "cd",
        "docker",
        "eval",
        "export",
        "fg",
        "git",
        "hf",
        "lm-eval",
        "man",
        "mkdir",
        "pipx",
        "python3",
        "srun",
        "uv",
        "vllm",
    }
)
"""Programs that are not ours: nothing of their lines is checked."""
EXTRAS = re.compile(r"middo-tui\[([\w,]+)\]")


class Block(NamedTuple):
    """One fenced block. ``place``: file and line of its first line of text, for messages."""

    place: str
    language: str
    text: str


def pages() -> list[Path]:
    """Every page that a reader of the repository may open."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def of(text: str, name: str) -> Iterator[Block]:
    """The blocks of one page."""
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 2
        indent = len(found["indent"])
        yield Block(f"{name}:{line}", found["language"], "\n".join(row[indent:] for row in found["text"].splitlines()))


def wrong(block: Block, scratch: Path) -> str:
    """Why the block would not work for a reader; empty when it would."""
    checks = {"sh": _shell, "toml": _toml, "python": _python, "json": _json, "yaml": _yaml, "text": _text}
    if block.language not in checks:
        return f"no known language: {block.language or 'none'}. Use one of {', '.join(checks)}."
    return checks[block.language](block.text, scratch)


# ------------------------------------------------------------------------------------------------------ shell


def _shell(text: str, scratch: Path) -> str:
    for line in text.replace("\\\n", " ").splitlines():
        for words in commands(line):
            if said := command(words):
                return f"{shlex.join(words)}: {said}"
    return ""


def commands(line: str) -> Iterator[list[str]]:
    """The commands of a line, without comments, assignments in front and redirections behind."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in (";", "&&", "||", "|", "&"):
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                yield words[: words.index(">")] if ">" in words else words
            words = []
        else:
            words.append(word)


def command(words: list[str]) -> str:
    """Why a command cannot be what the page says; empty when it can."""
    program, arguments = Path(words[0]).name, words[1:]
    if program == "middo-tui":
        return _ours(arguments)
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        return next((f"there is no target {one}" for one in arguments if "=" not in one and one not in targets), "")
    if program == "python" and arguments[:1] == ["-m"]:
        return "" if importlib.util.find_spec(arguments[1]) else f"there is no module {arguments[1]}"
    if program in ("python", "pytest", "ruff", "mypy", "lint-imports"):
        paths = [one.partition("::")[0] for one in arguments if "/" in one]
        return next((f"there is no {one}" for one in paths if not (ROOT / one).exists()), "")
    if program == "pip":
        known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
        named = [extra for one in EXTRAS.findall(" ".join(arguments)) for extra in one.split(",")]
        return next((f"there is no extra {extra}" for extra in named if extra not in known), "")
    return "" if program in OTHERS else f"{program} is not a program that the tests know"


def _ours(arguments: list[str]) -> str:
    """Parsed as click would, and not run."""
    given = [one for one in arguments if one not in ("-h", "--help", "--version", "--no-mouse")]
    if not given or (len(given) == 1 and given[0] in PROJECTS):
        return ""
    name, *rest = given
    if name not in main.commands:
        return f"there is no command {name}"
    try:
        main.commands[name].make_context(name, rest)
    except click.ClickException as error:
        return error.format_message()
    return ""


# ------------------------------------------------------------------------------------------------------ files


def _toml(text: str, scratch: Path) -> str:
    """A project's config.toml, or the user's own config.toml or keys.toml."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return f"not TOML: {error}"
    if tables.keys() & {"app", "keys"}:
        return _own(text, "keys.toml" if "keys" in tables else "config.toml", scratch)
    try:
        schema.parse(text, "the block")
    except MiddoError as error:
        return str(error)
    return ""


def _own(text: str, name: str, scratch: Path) -> str:
    place = scratch / "middo-tui"
    place.mkdir(exist_ok=True)
    (place / name).write_text(text, encoding="utf-8")
    found = preferences.load({"XDG_CONFIG_HOME": str(scratch), "TERM": "xterm-256color"})
    return " ".join([*found.warnings, *keymap.check(found.keys).warnings])


def _json(text: str, scratch: Path) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        return f"not JSON: {error}"
    return ""


def _yaml(text: str, scratch: Path) -> str:
    try:
        yaml.safe_load(text)
    except yaml.YAMLError as error:
        return f"not YAML: {error}"
    return ""


def _python(text: str, scratch: Path) -> str:
    """Run in a process of its own, with the repository's root to import from."""
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=scratch,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.strip() if done.returncode else ""


def _text(text: str, scratch: Path) -> str:
    return ""
