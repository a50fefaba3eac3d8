"""Applying a cut: into config.toml always, and into this round's selection where nothing stands on the old one yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.config.edit import edit
from engine.errors import UsageError
from engine.store.rows import AXES, Axis
from middo_tui.feed import control
from middo_tui.feed.thresholds import RoundState, standing
from middo_tui.keys.tables import press


def apply(project: Path, round: int, m: Mapping[Axis, float], rule: str) -> str:
    """Write the cuts; select ``round`` anew if that costs nothing. Returns what that means, in a sentence.

    Raises:
        ConfigError: config.toml cannot be changed; nothing is.
        WorkerError, StoreError, UsageError: the cuts are written, but select could not be started anew.
    """
    edit(project, {"select.threshold": rule, **{f"select.m_{axis}": m[axis] for axis in AXES}})
    where = standing(project, round)
    if not where.free:
        return f"Written to config.toml. {consequence(where)}"
    if where.made_with(m, rule):
        return f"Written to config.toml. Round {round} was selected with these cuts: it stays as it is."
    _redo(project, round)
    return f"Written to config.toml; select of round {round} runs anew with it."


def anew(project: Path, round: int, m: Mapping[Axis, float], rule: str) -> str:
    """Write the cuts and select ``round`` anew, whatever its rewrites cost: they are thrown away.

    Raises:
        UsageError: a worker runs, or the round is merged; nothing has changed.
        ConfigError, WorkerError, StoreError: as ``apply``.
    """
    where = standing(project, round)
    if where.running:
        how = f"{press('app.go-loop')}, then {press('loop.pause')}"
        raise UsageError(f"Round {round} is running: pause it first ({how}). Nothing has changed.")
    if where.history or not where.selected:
        raise UsageError(f"Round {round} cannot be selected anew: {consequence(where)} Nothing has changed.")
    edit(project, {"select.threshold": rule, **{f"select.m_{axis}": m[axis] for axis in AXES}})
    _redo(project, round)
    return f"{where.begun:,} rewrites thrown away; select of round {round} runs anew."


def _redo(project: Path, round: int) -> None:
    from engine.project.folder import redo  # brings the file formats along: only when it is used

    redo(project, "select", lambda said: None)
    control.step(project, round, "select")


def consequence(where: RoundState) -> str:
    """What a cut that is only written will do."""
    here, after = f"Round {where.round}", f"round {where.round + 1}"
    if where.merged or not where.newest:
        return f"{here} is merged: the cuts hold from {after} on."
    if where.reading:
        return f"{here} has read its settings already: when it has selected, apply again to have it use these."
    if not where.selected:
        return f"{here} will select with it."
    if where.begun:
        return f"{here} keeps its {where.begun:,} rewrites: the cuts hold from {after} on."
    if where.running:
        return f"{here} is running on the old cuts: pause it (1, then p) and apply again, or they hold from {after} on."
    return f"{here} is selected anew: nothing was rewritten yet."
