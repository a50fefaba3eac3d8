"""Applying a cut: into config.toml always, and into this round's selection where nothing stands on the old one yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.config.edit import edit
from engine.errors import UsageError
from engine.plurals import counted
from engine.store.rows import AXES, Axis
from middo_tui.feed import control
from middo_tui.feed.thresholds import RoundState, standing
from middo_tui.keys.tables import press


def apply(project: Path, round: int, m: Mapping[Axis, float], rule: str) -> str:
    """Write the thresholds; redo the selection of ``round`` if that costs nothing. Returns a sentence about it.

    Raises:
        ConfigError: config.toml cannot be changed; nothing is.
        WorkerError, StoreError, UsageError: the thresholds are written, but select could not be started.
    """
    edit(project, {"select.threshold": rule, **{f"select.m_{axis}": m[axis] for axis in AXES}})
    where = standing(project, round)
    if not where.free:
        return f"Saved to config.toml. {consequence(where)}"
    if where.made_with(m, rule):
        return f"Saved to config.toml. Round {round} was already selected with these thresholds."
    _redo(project, round)
    return f"Saved to config.toml. Redoing select of round {round}."


def redo_selection(project: Path, round: int, m: Mapping[Axis, float], rule: str) -> str:
    """Write the thresholds and redo the selection of ``round``, whatever its rewrites cost: they are discarded.

    Raises:
        UsageError: a worker runs, or the round is merged; nothing has changed.
        ConfigError, WorkerError, StoreError: as ``apply``.
    """
    where = standing(project, round)
    if where.running:
        how = f"{press('app.go-loop')}, then {press('loop.pause')}"
        raise UsageError(f"Round {round} is running: pause it first ({how}). Nothing was changed.")
    if where.history or not where.selected:
        raise UsageError(f"The selection of round {round} cannot be redone. {consequence(where)} Nothing was changed.")
    edit(project, {"select.threshold": rule, **{f"select.m_{axis}": m[axis] for axis in AXES}})
    _redo(project, round)
    return f"Discarded {counted(where.begun, 'rewrite')}. Redoing select of round {round}."


def _redo(project: Path, round: int) -> None:
    from engine.project.folder import redo  # brings the file formats along: only when it is used

    redo(project, "select", lambda said: None)
    control.step(project, round, "select")


def consequence(where: RoundState) -> str:
    """What thresholds that are only written will do."""
    here, after = f"Round {where.round}", f"round {where.round + 1}"
    if where.merged or not where.newest:
        return f"{here} is merged: these thresholds apply from {after} on."
    if where.reading:
        return f"{here} is already selecting: apply again after its select stage to use these."
    if not where.selected:
        return f"{here} will use these thresholds."
    if where.begun:
        begun = counted(where.begun, "rewrite")
        return f"{here} keeps its {begun}: these thresholds apply from {after} on."
    if where.running:
        pause = f"{press('app.go-loop')}, then {press('loop.pause')}"
        return f"{here} uses the old thresholds: pause it ({pause}) and apply again, or they apply from {after} on."
    return f"{here} is selected again, as nothing was rewritten yet."
