"""Which evaluation tasks there are, without loading lm-eval: names, what they need, and what is wrong with a wish.

lm-eval's own index takes seconds and torch; here its task files are searched for the few names that are asked for, so
that the worker and ``doctor`` can refuse a name before anything trains.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.config.schema import Config, Evaluate
from engine.errors import ConfigError
from engine.evaluation import sandbox

_NAMED = tuple(
    re.compile(rb"^[\"']?%s[\"']?:[ \t]*[\"']?([^\s\"'#\[{-][^\n\"'#]*+)[\"']?[ \t]*+(?:#.*)?\r?$" % key, re.M)
    for key in (b"task", b"group")  # a file that says both is a task
)
_INCLUDED = re.compile(rb"^[\"']?include[\"']?:[ \t]*[\"']?([^\s\"'#]+)", re.M)
_TAGGED = re.compile(rb"^[\"']?tag[\"']?:[ \t]*(.*(?:\n[ \t]*-[ \t]*.*)*)", re.M)
_WORD = re.compile(rb"[\w./-]+")
LOCAL_FORMATS = frozenset({"json", "csv", "parquet", "text", "arrow"})
MAIN_METRICS = (
    "acc_norm",
    "exact_match,flexible-extract",
    "math_verify",
    "exact_match",
    "prompt_level_strict_acc",
    "pass@1",
    "pass_at_1",
    "acc",
    "f1",
)
"""Which figure stands for a task that has several, the first that it has; config.toml can name another."""


@dataclass(frozen=True, slots=True)
class TaskNeeds:
    """What a task, or the tasks of a group, need. ``local``: all data lie beside the task file, no network is used."""

    runs_code: bool
    local: bool


def harness() -> Path:
    """The folder of lm-eval's own tasks.

    Raises:
        ConfigError: lm-eval is not installed.
    """
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("config.toml: [evaluate] tasks needs lm-eval, which is not installed: pip install lm-eval")
    return Path(next(iter(spec.submodule_search_locations))) / "tasks"


def own_folder(how: Evaluate, project: Path) -> Path | None:
    """The folder of [evaluate] include_path, relative to the project; None when none is named.

    Raises:
        ConfigError: there is no such folder.
    """
    if not how.include_path:
        return None
    folder = (project / Path(how.include_path).expanduser()).resolve()
    if not folder.is_dir():
        raise ConfigError(
            f"config.toml: [evaluate] include_path: {folder} is not a folder. Set it to the one with your tasks."
        )
    return folder


def check(config: Config, project: Path) -> dict[str, TaskNeeds]:
    """Check [evaluate] tasks. Returns what each task needs.

    Raises:
        ConfigError: a name that there is not (with those like it), code that would be run without leave, a backend
            that is not installed or cannot have the model.
    """
    how = config.evaluate
    if not how.tasks:
        return {}
    own = own_folder(how, project)
    found = {**index(harness()), **(_scan(own) if own else {})}
    if missing := [name for name in how.tasks if name not in found]:
        raise ConfigError(_unknown(missing[0], list(found), own))
    if how.backend == "vllm" and find_spec("vllm") is None:
        raise ConfigError(
            'config.toml: [evaluate] backend = "vllm", but vllm is not installed. Install middo-tui[vllm], or set "hf".'
        )
    if how.backend == "vllm" and config.train.method == "qlora":
        raise ConfigError(
            'config.toml: [evaluate] backend = "vllm" would load the adapter on an unquantised base model, while'
            ' [train] method = "qlora" trains on 4 bits. Set backend = "hf".'
        )
    needs = {name: _needs(name, found, own) for name in how.tasks}
    if not how.allow_code_execution and (code := [name for name, need in needs.items() if need.runs_code]):
        raise ConfigError(
            f"config.toml: [evaluate] tasks: {', '.join(code)} runs model-written code. Set allow_code_execution = true"
            " to run it in a sandbox, or remove the task."
        )
    if any(need.runs_code for need in needs.values()) and not how.allow_unconfined_code:
        sandbox.check()
    return needs


def _unknown(name: str, known: Sequence[str], own: Path | None) -> str:
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.7)
    hint = f"Did you mean {', '.join(near)}?" if near else "`lm-eval ls tasks` lists all tasks."
    where = f"neither lm-eval nor {own} has" if own else "lm-eval has no"
    return f"config.toml: [evaluate] tasks: {where} {'a' if own else ''} task {name!r}. {hint}".replace("  ", " ")


@lru_cache(maxsize=1)
def index(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The files that define each task, group or tag below ``folder``; a tag has several. They do not change."""
    return _scan(folder)


def _scan(folder: Path) -> dict[str, tuple[Path, ...]]:
    found: dict[str, tuple[Path, ...]] = {}
    tags: dict[str, list[Path]] = {}
    inherited: dict[Path, list[str]] = {}  # the tags of files that others include
    for path in sorted(folder.rglob("*.yaml")):
        text = path.read_bytes()
        name = _NAMED[0].search(text) or _NAMED[1].search(text)
        if name is None:
            continue
        found.setdefault(_text(name[1]), (path,))
        own = _tags(text)
        for other in () if own else _INCLUDED.findall(text):
            template = path.parent / _text(other)
            if template not in inherited:
                inherited[template] = _tags(template.read_bytes()) if template.is_file() else []
            own += inherited[template]
        for tag in own:
            tags.setdefault(tag, []).append(path)
    return {**{tag: tuple(paths) for tag, paths in tags.items()}, **found}


def _tags(text: bytes) -> list[str]:
    words = (word.rstrip(b"./-") for block in _TAGGED.findall(text) for word in _WORD.findall(block))
    return [_text(word) for word in words if word]


def _text(found: bytes) -> str:
    return found.decode("utf-8", "replace").strip()


def _needs(name: str, found: dict[str, tuple[Path, ...]], own: Path | None) -> TaskNeeds:
    leaves = list(_leaves(name, found, set()))
    return TaskNeeds(
        any(leaf.get("unsafe_code") for leaf in leaves),
        bool(leaves) and all(_is_local(leaf, own) for leaf in leaves),
    )


def _leaves(name: str, found: dict[str, tuple[Path, ...]], seen: set[Path]) -> Iterator[dict[str, Any]]:
    """The settings of every task in ``name``, which may be a group or tag."""
    for path in found.get(name, ()):
        if path in seen:
            continue
        seen.add(path)
        yield from _members(settings(path), found, seen)


def _members(config: dict[str, Any], found: dict[str, tuple[Path, ...]], seen: set[Path]) -> Iterator[dict[str, Any]]:
    below = config.get("task")
    if not isinstance(below, list):
        yield config
        return
    for member in below:
        if isinstance(member, str):
            yield from _leaves(member, found, seen)
        elif isinstance(inner := member.get("task"), str):
            yield from ({**leaf, **member} for leaf in _leaves(inner, found, seen))
            if inner not in found:
                yield member
        else:
            yield from _members(member, found, seen)


def _is_local(config: dict[str, Any], own: Path | None) -> bool:
    """Whether a task of ours reads files of this machine only."""
    source = str(config.get("dataset_path") or "")
    return own is not None and (source in LOCAL_FORMATS or (own / source).is_dir()) and "://" not in str(config)


def settings(path: Path, seen: frozenset[Path] = frozenset()) -> dict[str, Any]:
    """A task file with what it includes; functions stay names.

    Raises:
        ConfigError: the file cannot be read; names it and the line.
    """
    import yaml

    if path in seen:
        raise ConfigError(f"{path}: includes itself.")
    try:
        found = yaml.load(path.read_bytes(), Loader=_loader())  # noqa: S506 - a safe loader
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: unreadable task file: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: not a task file: it has no keys.")
    above = found.pop("include", [])
    out: dict[str, Any] = {}
    for other in above if isinstance(above, list) else [above]:
        out |= settings((path.parent / other).resolve(), seen | {path})
    return out | found


@lru_cache(maxsize=1)
def _loader() -> Any:
    import yaml

    loader: Any = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda load, node: load.construct_scalar(node))  # as text
    return loader


def main_metric(names: Sequence[str], wanted: str = "") -> str | None:
    """Which of a task's figures (``metric,filter``) stands for it: the wanted one, else by ``MAIN_METRICS``, else
    the first; None when it has none, or not the wanted one.
    """
    for one in (wanted,) if wanted else MAIN_METRICS:
        if (hit := next((name for name in names if name == one or name.partition(",")[0] == one), None)) is not None:
            return hit
    return None if wanted else next(iter(names), None)
