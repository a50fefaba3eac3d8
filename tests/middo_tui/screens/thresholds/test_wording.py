"""What the Thresholds screen reads and says, without the screen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.schema import Select
from engine.selection import choose
from engine.signals import judge_trust
from engine.store.connect import reader, transaction
from engine.store.rows import Threshold
from middo_tui.feed import thresholds as feed
from middo_tui.screens.thresholds import wording as words
from middo_tui.screens.thresholds.keys import KEYS, ThresholdsKeyState
from middo_tui.widgets.lines import plain
from tests.support import ROOT, stores
from tests.support.threshold_projects import Cuts, spread
from tests.support.thresholds_screen import mark

pytestmark = pytest.mark.usefixtures("prepared_here")


@pytest.mark.parametrize(("found", "text"), [
    (mark("loss_after", 1.5), "tuned loss  μ + 1.00σ = 1.500"),
    (mark("loss_after", 1.5, 1.25), "tuned loss  μ + 1.00σ = 1.500  floor 1.250"),
    (mark("loss_after", 1.5, 1.75), "tuned loss  μ + 1.00σ = 1.500 → floor 1.750"),
    (mark("quality", 0.5, 0.25), "quality  μ − 1.00σ = 0.500 → floor 0.250"),
    (mark("quality", 0.5, rule="mixture"), "quality  bimodal split at 0.500"),
    (mark("quality", float("-inf"), rule="mixture"), "quality  no split found: selects nothing"),
])  # fmt: skip
def test_headings(found: Threshold, text: str) -> None:
    assert plain([words.heading(found.signal, found)]) == text


@pytest.mark.parametrize(("auc", "quality", "said"), [
    (0.5, "auto", "The judge cannot tell good from bad on your data (AUC 0.50 of 32 pairs): the quality axis is off."),
    (0.5, "on", ""),
    (0.97, "auto", ""),
])  # fmt: skip
def test_a_judge_that_is_not_believed_stands_in_place_of_its_ratings(auc: float, quality: str, said: str) -> None:
    where = feed.RoundState(0, trust=judge_trust.of_pairs(auc, 32))
    doubt = words.doubt(where, Select(quality=quality))  # type: ignore[arg-type]
    assert doubt == said
    if said:
        assert words.missing(["quality"], doubt) == said
        assert words.missing(["similarity", "quality"], doubt).startswith(f"{said} No sample has")
        assert words.empty("quality", doubt) == said
    assert words.empty("similarity", doubt) == words.empty("similarity")


def test_the_filter_is_exact_and_leaves_out_what_selects_nothing() -> None:
    assert words.beyond([mark("loss_before", 0.1 + 0.2, 0.1), mark("loss_after", 1.5, 2.5)]) == (
        "loss_before>0.30000000000000004 loss_after>2.5"
    )
    assert words.beyond([mark("quality", float("-inf"))]) == ""


def test_the_signals_are_the_engines() -> None:
    assert {name: (s.axis, s.side) for name, s in feed.SIGNALS.items()} == {
        s.name: (s.axis, s.side) for s in choose.SIGNALS
    }


def test_verdicts_of_a_stored_mixture_are_clean() -> None:
    stored = [mark("quality", 0.5, rule="mixture"), mark("similarity", 0.5)]
    assert feed.verdicts(stored) == {"quality": "why"}


def test_opening_the_screen_imports_no_numpy() -> None:
    code = "import sys, middo_tui.screens.thresholds.screen; print('numpy' in sys.modules or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_store_is_only_read_before_enter(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    before = made.db.execute("PRAGMA data_version").fetchone()[0]
    feed.load(tmp_path / "p", 0)
    feed.state_and_config(tmp_path / "p", 0)
    assert made.db.execute("PRAGMA data_version").fetchone()[0] == before
    with transaction(made.db):
        made.db.execute("DELETE FROM signal")
    db = reader(tmp_path / "p")
    assert feed.load(tmp_path / "p", 0).preview.missing == tuple(feed.SIGNALS)
    db.close()


@pytest.mark.parametrize(("rule", "name"), [("sigma", "the sigma rule"), ("mixture", "the bimodal split")])
def test_moved_thresholds_say_that_they_take_evidences_place(rule: str, name: str) -> None:
    said = words.leaving_evidence(feed.RoundState(0), rule)
    assert f"switches from evidence to {name}" in said.text
    assert said.role == "decide"
    key = next(key for key in KEYS if key.id == "apply")
    assert key.label(ThresholdsKeyState(ready=True, moved=True, evidence=True)) == "switch rule"


def test_enter_does_what_the_sentence_about_evidence_promises() -> None:
    assert "enter switches to it" in words.by_evidence("").text
    key = next(key for key in KEYS if key.id == "apply")
    assert key.works(ThresholdsKeyState(ready=True, evidence=True))
    assert not key.works(ThresholdsKeyState(ready=True))


def test_a_merge_that_changed_nothing_leaves_the_selection_open(tmp_path: Path) -> None:
    made = stores.finished(tmp_path / "p")
    assert feed.standing(tmp_path / "p", 1).merged
    with transaction(made.db):
        made.db.execute("UPDATE rewrite SET state='rejected' WHERE round=1 AND state='accepted'")
        made.db.execute("DELETE FROM retirement WHERE round=2")
    assert not feed.standing(tmp_path / "p", 1).merged
