"""Labels that speak for or against the judge after it ran: the stored scores stay, and that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.schema import Select
from engine.signals.judge_trust import outdated
from engine.signals.label_report import LabelReport, SignalRanking
from engine.store.judging import JudgeCheck
from middo_tui.feed.labels import read_labels
from middo_tui.text.label_report import report_lines
from tests.support import rounds, tiny
from tests.support.rounds import Signals


@pytest.fixture
def labelled(tmp_path: Path) -> tiny.Project:
    """Twenty samples, the judge rates the first ten worse; all are labelled."""
    made = rounds.project(tmp_path, 20)
    (tmp_path / "config.toml").write_text("", encoding="utf-8")
    signals: list[Signals] = [(1.0, 1.0, 0.8, 2.0 if i < 10 else 8.0) for i in range(20)]
    rounds.signal(made, signals)
    for place, sample in enumerate(rounds.dataset(made)):
        said = "flawed" if place < 10 else "good"
        made.db.execute(
            "INSERT INTO label (sample_id, round, place, stratum, share, label) VALUES (?, 0, ?, 0, 1.0, ?)",
            (sample.id, place, said),
        )
    return made


def check(made: tiny.Project, counted: bool | None) -> None:
    made.ctx("judge").save([JudgeCheck(0, "self", "", done=True, pairs=40, auc=0.5, rated=20, counted=counted)])


def test_labels_for_the_judge_do_not_change_scores_made_without_it(labelled: tiny.Project) -> None:
    check(labelled, counted=False)
    said = outdated(labelled.db, 0, Select())
    assert "made without the judge's ratings" in said
    assert "--redo judge" in said
    lines = list(report_lines(read_labels(labelled.folder).report))
    assert any("--redo judge" in line for line in lines)
    assert any("made without" in line for line in lines)


@pytest.mark.parametrize("counted", [True, None])
def test_scores_that_are_as_the_labels_say_need_no_words(labelled: tiny.Project, counted: bool | None) -> None:
    check(labelled, counted)
    assert outdated(labelled.db, 0, Select()) == ""


def test_labels_against_the_judge(labelled: tiny.Project) -> None:
    labelled.db.execute("UPDATE label SET label=iif(label='good', 'flawed', 'good')")
    check(labelled, counted=True)
    assert "made with the judge's ratings" in outdated(labelled.db, 0, Select())


def test_of_few_labels_no_estimate_is_said() -> None:
    rankings = (SignalRanking("flaw", 0.7, 0.2, 1.0), SignalRanking("ifd", 0.7, 0.5, 0.9))
    lines = list(report_lines(LabelReport(2, 1, 0, 0.5, 0.05, 0.95, None, rankings, {}, {})))
    assert "Too few labels to estimate how much of the whole dataset is flawed (95% interval: 5% to 95%)." in lines
    assert "  flaw score       too few labels  (0.20 to 1.00)" in lines
    assert "  IFD              0.70  (0.50 to 0.90)" in lines
