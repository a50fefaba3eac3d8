"""What a person wants of single samples in the select stage: by the rules, by evidence, and in the preview."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from engine.loop import NAMES, Reselect, Stop
from engine.runtime.worker import Supervisor
from engine.selection import overridden, survey
from engine.selection.preview import facts
from engine.selection.preview.round_arrays import read_round
from engine.stages import select
from engine.store import commands, overrides, write
from engine.store.connect import patient, reader
from engine.store.rows import AXES, Flaw, Override, Rewrite, Selection
from middo_tui.cli.control import nothing_to_run
from middo_tui.cli.plain import what_now
from middo_tui.feed.sample import read_detail
from middo_tui.widgets.sample_pane import pane_lines
from tests.support import rounds, tiny
from tests.support.previews import previewed
from tests.support.rounds import Signals

HARD: Signals = (3.0, 2.5, 0.82, 6.2)
POOR: Signals = (1.0, 0.5, 0.82, 1.0)


def project(folder: Path, extra: str = "select.m_diversity = 9") -> tuple[tiny.Project, list[int]]:
    """Forty samples; 3 is hard, 11 rated low."""
    made = rounds.project(folder, 40, extra)
    rounds.signal(made, rounds.usual(40, s3=HARD, s11=POOR))
    return made, [s.id for s in rounds.dataset(made)]


def pending(made: tiny.Project) -> list[tuple[str, int]]:
    place = {s.id: s.seq for s in rounds.dataset(made)}
    return sorted((r.axis, place[r.sample_id]) for r in made.ctx("select").rows(Rewrite) if r.state == "owed")


def test_dropped_and_protected_samples_are_left_and_requested_ones_taken(tmp_path: Path) -> None:
    made, ids = project(tmp_path)
    overrides.set_overrides(made.folder, [ids[3]], "protect")
    overrides.set_overrides(made.folder, [ids[11]], "drop")
    overrides.set_overrides(made.folder, [ids[20]], "rewrite", "complexity")
    select.run(made.ctx("select"))
    assert pending(made) == [("complexity", 20)]
    chosen = made.ctx("select").rows(Selection)
    assert [(row.sample_id, row.axis) for row in chosen] == [(ids[20], "complexity")]
    assert math.isinf(chosen[0].threshold)
    assert "1 rewrite was requested by hand" in made.events()
    detail = read_detail(made.folder, ids[20], 0)
    assert detail is not None
    assert "selected: requested by hand" in "".join(run.text for line in pane_lines(detail, 80) for run in line)


def test_a_request_ends_with_the_round_that_met_it_and_a_second_run_gives_the_same(tmp_path: Path) -> None:
    made, ids = project(tmp_path)
    overrides.set_overrides(made.folder, [ids[20]], "rewrite", "quality")
    for _ in range(2):
        select.run(made.ctx("select"))
        assert pending(made) == [("complexity", 3), ("quality", 11), ("quality", 20)]
    assert overridden.overrides(made.ctx("select", 1)) == {}
    db = reader(made.folder)
    assert overrides.counts(db) == {"drop": 0, "protect": 0, "rewrite": 0}
    db.close()
    assert overrides.set_overrides(made.folder, [ids[20]], "rewrite", "quality").changed == 1  # once more
    assert [row.met_round for row in made.ctx("x").rows(Override)] == [None]


def test_a_round_that_selected_nothing_is_done_again_once_for_what_was_overridden_since(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 10, "select.m_complexity = 9\nselect.m_diversity = 9\nselect.m_quality = 9")
    rounds.signal(made, rounds.usual(10))
    ids = [s.id for s in rounds.dataset(made)]
    for name in NAMES:
        write.end_job(made.db, 0, name, "done")
    made.ctx("merge").replace([], [], [])
    (made.folder / "config.toml").write_text("", encoding="utf-8")
    commands.set_plan(made.folder, 1)
    worker = Supervisor(made.folder, patient(made.folder, None), lock=-1)
    assert isinstance(worker.next_step(), Stop)
    overrides.set_overrides(made.folder, [ids[2]], "protect")
    assert isinstance(worker.next_step(), Stop), "nothing is to be done about it"
    overrides.set_overrides(made.folder, [ids[4]], "rewrite", "quality")
    assert "you have set 1 override since. Resume with `middo-tui run" in what_now(made.folder)
    assert nothing_to_run(made.folder) == ""
    step = worker.next_step()
    assert step == Reselect(0, 1)
    worker.begin_again(step)
    assert {name for name, job in worker.jobs(0).items() if job.state == "pending"} == set(NAMES[4:])
    select.run(made.ctx("select"))
    assert pending(made) == [("quality", 4)]
    for name in NAMES:
        write.end_job(made.db, 0, name, "done")
    assert isinstance(worker.next_step(), Stop), "the request is met, though its rewrite was not accepted"
    worker.db.close()


def test_the_preview_leaves_them_out_too(tmp_path: Path) -> None:
    made, ids = project(tmp_path)
    overrides.set_overrides(made.folder, [ids[3]], "protect")
    preview = previewed(read_round(made.folder, 0, True, made.config), facts.of_round(made.db, 0, made.config))
    assert preview.counts(dict.fromkeys(AXES, -20.0)).beyond == dict.fromkeys(AXES, 39)
    assert ids[3] not in [near.id for near in preview.margin("complexity", -20.0, 40)[0]]


def test_evidence_asks_about_none_of_them_and_rewrites_what_was_requested(tmp_path: Path) -> None:
    made, ids = project(tmp_path, 'select.threshold = "evidence"')
    made.ctx("score").save([Flaw(0, id, (i + 0.5) / 40, "ifd") for i, id in enumerate(ids)])
    for place, action, axis in ((39, "drop", None), (38, "protect", None), (37, "rewrite", "quality")):
        overrides.set_overrides(made.folder, [ids[place]], action, axis)
    found = survey.survey(made.ctx("select"))
    assert np.flatnonzero(~found.open).tolist() == [37, 38, 39]
    select.run(made.ctx("select"))
    rows = made.ctx("select").rows(Rewrite)
    assert {row.sample_id for row in rows if row.probe}.isdisjoint(ids[37:])
    assert [(row.sample_id, row.axis, row.state) for row in rows if not row.probe] == [(ids[37], "quality", "owed")]


def test_a_rewrite_can_be_requested_where_the_signal_is_missing(tmp_path: Path) -> None:
    made, ids = project(tmp_path, 'select.m_diversity = 9\nselect.quality = "off"')
    overrides.set_overrides(made.folder, [ids[20]], "rewrite", "quality")
    select.run(made.ctx("select"))
    chosen = [row for row in made.ctx("select").rows(Selection) if row.axis == "quality"]
    assert [(row.sample_id, row.value) for row in chosen] == [(ids[20], 0.0)]
