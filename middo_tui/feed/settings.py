"""The effective config, row by row: what holds, what the default is, what it means, and which stages it reaches.

Imports no more than the engine's light part; everything here may block: call it in a thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from shlex import quote

import msgspec
from msgspec import Struct

from engine.config import defaults, edit, toml_text
from engine.config import schema as configs
from engine.config.schema import Config
from engine.errors import ConfigError, MiddoError
from engine.loop import STAGES
from engine.store import read
from engine.store.connect import reader
from middo_tui.terminal import guard


class Setting(Struct, frozen=True):
    """One key of config.toml, dotted. Values are TOML text as it is: clean it before it is shown.

    ``used``: what the newest round last ran with where that differs. ``stages``: those whose result depends on it.
    """

    key: str
    value: str
    default: str
    help: str = ""
    used: str = ""
    stages: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        """The table it stands in."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The key without its table."""
        return self.key.rpartition(".")[2]

    @property
    def changed(self) -> bool:
        """Whether it is not the default."""
        return self.value != self.default


class Settings(Struct, frozen=True):
    """All settings. ``round``: the newest round, None before the first; ``ran``: its stages that are done.

    ``problem``: why there are none.
    """

    rows: tuple[Setting, ...] = ()
    round: int | None = None
    ran: tuple[str, ...] = ()
    problem: str = ""


def load(project: Path) -> Settings:
    """What config.toml says now, beside what the newest round ran with. Trouble is part of the answer."""
    try:
        now = flat(configs.load(project))
        db = reader(project)
        try:
            newest = db.execute("SELECT round, config FROM round ORDER BY round DESC LIMIT 1").fetchone()
            jobs = read.jobs(db)
        finally:
            db.close()
    except (MiddoError, sqlite3.Error, OSError) as error:
        return Settings(problem=guard.clean(str(error)).text)
    round = None if newest is None else int(newest["round"])
    used = {} if newest is None else _used(newest["config"])
    usual = flat(Config())
    rows = tuple(
        Setting(
            key,
            value,
            usual[key],
            comments().get(key, ""),
            used[key] if used.get(key, value) != value else "",
            stages_of(key),
        )
        for key, value in now.items()
    )
    return Settings(rows, round, tuple(job.stage for job in jobs if job.round == round and job.state == "done"))


def _used(snapshot: str) -> dict[str, str]:
    """A round's config; nothing when an older version of the program wrote it with keys that are gone."""
    try:
        return flat(configs.restore(snapshot))
    except msgspec.MsgspecError:
        return {}


def flat(config: msgspec.Struct, before: str = "") -> dict[str, str]:
    """Dotted keys and values as TOML, in the file's order; sub-tables last."""
    out: dict[str, str] = {}
    for name, value in msgspec.structs.asdict(config).items():
        if isinstance(value, msgspec.Struct):
            out.update(flat(value, f"{before}{name}."))
        else:
            out[before + name] = defaults.shown(value)
    return out


def stages_of(key: str) -> tuple[str, ...]:
    """The stages whose slice of the config holds ``key``."""
    return tuple(spec.name for spec in STAGES if any(key == part or key.startswith(f"{part}.") for part in spec.config))


@cache
def comments() -> dict[str, str]:
    """The comment above each key of the template; one comment may stand for the keys that follow it."""
    found: dict[str, str] = {}
    section, said, fresh = "", "", True
    for line in defaults.TEMPLATE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section, said = line.strip("[]"), ""
        elif line.startswith("#"):
            text = line.removeprefix("#").strip()
            said, fresh = (text, False) if fresh else (f"{said} {text}", False)
        elif line.strip():
            found[f"{section}.{line.partition(' = ')[0]}"] = said
            fresh = True
    return found


def sections(rows: tuple[Setting, ...]) -> Iterator[tuple[str, tuple[Setting, ...]]]:
    """The rows by section, in order."""
    for section in dict.fromkeys(row.section for row in rows):
        yield section, tuple(row for row in rows if row.section == section)


def value_of(old: str, typed: str) -> object:
    """What a person typed: TOML, or for a text just the text.

    Raises:
        ConfigError: not TOML, where the old value is no text.
    """
    text = typed.strip()
    is_text = old.startswith('"')
    if is_text and text[:1] not in ('"', "'", "["):
        return text
    try:
        found: object = toml_text.value(text)
    except toml_text.NotToml as error:
        raise ConfigError(f"{error}. Example: {old}") from None
    return found


def save(
    project: Path, setting: Setting, typed: str, ran: tuple[str, ...], round: int | None, running: bool = True
) -> str:
    """Write one value; says what follows from it. ``running``: there is something to pause.

    Raises:
        ConfigError: it cannot be that; nothing has changed.
    """
    edit.edit(project, {setting.key: value_of(setting.value, typed)})
    stale = [stage for stage in setting.stages if stage in ran]
    said = guard.one_line(f"Saved {setting.key} = {typed.strip()}.")
    if setting.section == "data" and not setting.stages:  # only reading a dataset file uses it
        if round is None and setting.name != "heldout":
            return f"{said} The next `middo-tui import` uses it."
        return f"{said} This project's data is already imported: only a new project uses it."
    if not stale:
        return f"{said} Stages that start from now on use it."
    stages = " and ".join([", ".join(stale[:-1]), stale[-1]] if len(stale) > 1 else stale)
    at = guard.one_line(quote(str(project)))
    return (
        f"{said} In round {round}, {stages} ran with {guard.one_line(setting.value, 40)}."
        f" To redo: {'pause, then ' if running else ''}middo-tui run {at} --redo {stale[0]}"
    )
