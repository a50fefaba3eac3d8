"""config.toml as frozen typed structs. Unknown keys are errors that name the file and the key.

A test holds these defaults equal to the template's. A project's config.toml only needs the settings that differ.
"""

from __future__ import annotations

import hashlib
from operator import attrgetter
from pathlib import Path
from shlex import quote

import msgspec

from engine.config import errors, named_templates, renamed, toml_text
from engine.config.launch import Launch as Launch
from engine.config.sections import FREE as FREE
from engine.config.sections import VLLM as VLLM
from engine.config.sections import ConfigSection
from engine.config.sections import Data as Data
from engine.config.sections import Device as Device
from engine.config.sections import Evaluate as Evaluate
from engine.config.sections import Judge as Judge
from engine.config.sections import Loop as Loop
from engine.config.sections import Merge as Merge
from engine.config.sections import Model as Model
from engine.config.sections import Notify as Notify
from engine.config.sections import Prices as Prices
from engine.config.sections import Project as Project
from engine.config.sections import Rate as Rate
from engine.config.sections import Review as Review
from engine.config.sections import Score as Score
from engine.config.sections import Select as Select
from engine.config.sections import Teacher as Teacher
from engine.config.sections import Train as Train
from engine.config.sections import Verify as Verify
from engine.errors import ConfigError

KNOBS = "See docs/REFERENCE.md for all settings."


class Config(ConfigSection, frozen=True):
    """The whole of config.toml."""

    project: Project = Project()
    data: Data = Data()
    model: Model = Model()
    train: Train = Train()
    score: Score = Score()
    judge: Judge = Judge()
    evaluate: Evaluate = Evaluate()
    select: Select = Select()
    teacher: Teacher = Teacher()
    vllm: VLLM = VLLM()
    verify: Verify = Verify()
    review: Review = Review()
    merge: Merge = Merge()
    loop: Loop = Loop()
    launch: Launch = Launch()
    notify: Notify = Notify()

    @property
    def secret_names(self) -> set[str]:
        """The environment variables that hold keys and tokens, whatever they are called."""
        roles = (self.teacher.key_env, self.judge.key_env, self.notify.webhook_env, self.notify.token_env)
        return {*roles, self.launch.token_env} - {""}

    @property
    def other_judge(self) -> bool:
        """Whether a model rates that is not the loop's own: a teacher that has a name."""
        return self.judge.model == "teacher" and self.teacher.model != ""


def parse(text: str, where: str) -> Config:
    """Read config text. ``where`` names it in errors.

    Raises:
        ConfigError: not TOML, an unknown key, a wrong type or a value out of range; names the key and the way out.
    """
    try:
        tables = toml_text.parsed(text)
        if wrong := errors.unusable_number(tables):
            raise ConfigError(f"{where}: {wrong}")
        return msgspec.convert(renamed.current(tables), Config)
    except RecursionError:
        raise ConfigError(f"{where}: nested too deeply. Compare with `middo-tui init`'s template.") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {errors.explain(str(error), Config)} {KNOBS}") from None
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def load(project: Path) -> Config:
    """The config of a project folder.

    Raises:
        ConfigError: the file is missing, not UTF-8, or says something that cannot be used.
    """
    path = project / "config.toml"
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        if (project / "middo.db").exists():
            raise ConfigError(f"{path}: missing. Put it back; it needs no more than [model] name.") from None
        raise ConfigError(
            f"{path}: missing. Make a project with `middo-tui init {quote(str(project))} --data FILE`."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from None


def snapshot(config: Config) -> str:
    """The config as canonical JSON, as it is kept with the round that ran with it."""
    return msgspec.json.encode(config, order="sorted").decode()


def restore(text: str) -> Config:
    """The inverse of ``snapshot``. Reads snapshots with renamed keys too."""
    return msgspec.convert(renamed.current(msgspec.json.decode(text)), Config)


def placed(config: Config, project: Path) -> Config:
    """The config with names of files that mean the same from every folder."""
    template = named_templates.place(config.model.chat_template, project)
    return msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, chat_template=template))


# Keys that change nothing of a result: with another value a stage's work is as good as before.
SILENT = {"train": ("keep_checkpoints", "report_to", "liger"), "judge": ("more_urls", "adapter_root")}


def _telling(name: str, value: object) -> object:
    """A section without the keys that change no result, and with what a file holds in place of its name."""
    if isinstance(value, Model) and value.chat_template:
        return msgspec.structs.replace(value, chat_template=named_templates.content_key(value.chat_template))
    if name not in SILENT:
        return value
    silent = SILENT[name]
    if isinstance(value, Judge) and value.backend == "server":  # the model is ours, whoever computes it
        silent += ("url",)
    return {key: item for key, item in msgspec.to_builtins(value).items() if key not in silent}


# What counts of a key is not the key itself: a result depends on how many processes there are, not on where they run.
MEANT = {"launch.processes": "launch.total"}


def slice_hash(config: Config, names: tuple[str, ...]) -> str:
    """A short hash of what a stage's result depends on: sections (``train``) or single keys (``train.init``).

    ``config`` must be ``placed``.
    """
    found = [(name, attrgetter(MEANT.get(name, name))(config)) for name in names]
    parts = [msgspec.json.encode(_telling(name, value), order="sorted") for name, value in found]
    if "judge" in names and config.judge.model == "teacher":
        parts.append(msgspec.json.encode([config.teacher.model, config.teacher.dtype]))
    if config.data.injection != "hold" and {"judge", "select"} & set(names):  # the default's hash is older than the key
        parts.append(config.data.injection.encode())
    return hashlib.blake2b(b"\x00".join(parts), digest_size=8).hexdigest()
